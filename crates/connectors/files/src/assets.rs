//! From the name of an asset to the files behind it: one file, a glob, a folder, the parts a manifest lists.
//!
//! Order is always by name, so two reads see files in the same order. Hidden files and names that begin with `_` are
//! no data. Folders named `year=2024` add a column. No file is opened here except a manifest.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use serde::{Deserialize, Serialize};
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};
use synqx_sdk::{Asset, AssetKind};
use walkdir::WalkDir;

use crate::config::{Config, Format};
use crate::content::{Stamp, cannot_read};
use crate::manifest::{self, Manifest};

/// One file of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What messages call it: the path below the connection's folder.
    pub(crate) label: String,
    /// Its state when it was listed.
    pub(crate) stamp: Stamp,
    /// Columns its folders stand for, with their text; `None` is NULL.
    #[serde(default)]
    pub(crate) keys: Vec<(String, Option<String>)>,
}

/// The files behind an asset.
#[derive(Debug, Clone)]
pub(crate) struct FileSet {
    /// The files, by name.
    pub(crate) files: Vec<Entry>,
    /// Names the asset for stored positions.
    pub(crate) identity: String,
    /// The manifest that listed the files.
    pub(crate) manifest: Option<Manifest>,
    /// Sentences a person should read.
    pub(crate) notes: Vec<String>,
}

/// The folder (or single file) of a connection.
pub(crate) fn root(config: &Config, base: &Path) -> PathBuf {
    let text = config.path.strip_prefix("file://").unwrap_or(&config.path);
    let path = Path::new(text);
    let joined = if path.is_absolute() {
        path.to_owned()
    } else {
        base.join(path)
    };
    if joined.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        joined
    }
}

/// The absolute path without links, as far as it exists.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent != path && !parent.as_os_str().is_empty() => {
            canonical(parent).join(name)
        }
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// Where an asset is: the root itself when the asset is empty, `.` or the name of a root that is a file.
pub(crate) fn place(root: &Path, asset: &str) -> PathBuf {
    let named = root.file_name().is_some_and(|name| name.to_str() == Some(asset));
    if asset.is_empty() || asset == "." || asset == "./" || (named && root.is_file()) {
        return root.to_owned();
    }
    // `out/` and `out` are one place; a trailing slash would turn "is a file" into "cannot look".
    let kept = asset.trim_end_matches('/');
    root.join(if kept.is_empty() { asset } else { kept })
}

/// Finds the files of an asset. Errors: `E0204`, `E0210`, `E0211`, `E0103`.
pub(crate) fn find(root: &Path, asset: &str) -> Result<FileSet> {
    let path = place(root, asset);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => folder(&path, asset),
        Ok(metadata) => {
            let entry = Entry {
                label: label(&path, asset),
                stamp: Stamp::of(&metadata),
                keys: keys_of(asset),
                path,
            };
            let identity = identity(&entry.path);
            Ok(FileSet {
                files: vec![entry],
                identity,
                manifest: None,
                notes: Vec::new(),
            })
        }
        Err(_) if asset.contains(['*', '?', '[', '{']) => glob(root, asset),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Err(not_found(root, asset)),
        Err(cause) => Err(cannot_read(asset, &cause)),
    }
}

fn identity(path: &Path) -> String {
    format!("local_file:{}", canonical(path).display())
}

fn label(path: &Path, asset: &str) -> String {
    if asset.is_empty() || asset == "." {
        path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    } else {
        asset.to_owned()
    }
}

fn not_found(root: &Path, asset: &str) -> Error {
    let error = Error::new(
        Code::E0204,
        format!("there is no file or folder `{asset}` in `{}`", root.display()),
    );
    if !root.exists() {
        return error
            .with_detail(format!("The folder `{}` does not exist.", root.display()))
            .with_hint("change `path:` of the connection");
    }
    let names: Vec<String> = discover(root, None).map_or_else(
        |_| Vec::new(),
        |assets| assets.into_iter().map(|a| a.name).collect(),
    );
    error.with_hint(did_you_mean(asset, names.iter().map(String::as_str)))
}

/// Whether reading an asset would find what a load leaves at a place. `replaces`: the place itself may be the asset.
/// Errors: `E0103`.
pub(crate) fn finds(root: &Path, asset: &str, target: &Path, replaces: bool) -> Result<bool> {
    let path = canonical(&place(root, asset));
    let aside = |label: &str| label.split('/').any(is_aside);
    if path == *target {
        return Ok(!replaces);
    }
    let is_pattern = asset.contains(['*', '?', '[', '{']) && !path.exists();
    if !is_pattern {
        return Ok(target.starts_with(&path) && !aside(&below(target, &path)));
    }
    let root = canonical(root);
    if !target.starts_with(&root) || aside(&below(target, &root)) {
        return Ok(false);
    }
    let (matcher, label) = (matcher(asset)?, below(target, &root));
    // A file, or the parts of a folder.
    let parts = Format::ALL.map(|format| format!("{label}/part-0-000-00000.{}", format.extension()));
    Ok(matcher.is_match(&label) || parts.iter().any(|part| matcher.is_match(part)))
}

/// Whether a name is no data: hidden, or set aside with `_`.
fn is_aside(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('_')
}

fn folder(path: &Path, asset: &str) -> Result<FileSet> {
    let prefix = asset.trim_end_matches('/').trim_end_matches('.');
    if let Some(manifest) = manifest::read(path)? {
        return listed(path, prefix, manifest);
    }
    let found = walk(path, path)?;
    if found.is_empty() {
        return Err(Error::new(
            Code::E0204,
            format!("the folder `{}` holds no files", path.display()),
        )
        .with_detail("Hidden files and names that begin with `_` are left out.")
        .with_hint("check the path, or name a file"));
    }
    let mut files = found;
    for file in &mut files {
        file.label = join_label(prefix, &file.label);
    }
    Ok(FileSet {
        files,
        identity: identity(path),
        manifest: None,
        notes: Vec::new(),
    })
}

fn join_label(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}/{name}")
    }
}

fn listed(path: &Path, prefix: &str, manifest: Manifest) -> Result<FileSet> {
    let mut files = Vec::with_capacity(manifest.parts.len());
    for part in &manifest.parts {
        let file = path.join(&part.name);
        let metadata = std::fs::metadata(&file).map_err(|cause| {
            Error::new(
                Code::E0210,
                format!("part `{}` of `{}` is missing", part.name, path.display()),
            )
            .with_hint("restore the file, or load the folder again with `write: replace`")
            .with_cause(&cause)
        })?;
        if metadata.len() != part.bytes {
            return Err(Error::new(
                Code::E0210,
                format!(
                    "part `{}` of `{}` is not as long as its manifest says",
                    part.name,
                    path.display()
                ),
            )
            .with_detail(format!(
                "It has {} bytes, the manifest lists {}.",
                metadata.len(),
                part.bytes
            ))
            .with_hint("restore the file, or load the folder again with `write: replace`"));
        }
        files.push(Entry {
            label: join_label(prefix, &part.name),
            stamp: Stamp::of(&metadata),
            keys: keys_of(&part.name),
            path: file,
        });
    }
    let notes = vec![format!(
        "the folder's manifest lists {} part(s); other files in it are not read",
        files.len()
    )];
    Ok(FileSet {
        files,
        identity: identity(path),
        manifest: Some(manifest),
        notes,
    })
}

/// Every data file below a folder, labelled by its path below `base`.
fn walk(path: &Path, base: &Path) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    let walker = WalkDir::new(path)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter();
    for item in walker.filter_entry(|e| e.depth() == 0 || !is_aside(&e.file_name().to_string_lossy())) {
        let item = item.map_err(|cause| {
            Error::new(Code::E0211, format!("cannot list `{}`", path.display()))
                .with_hint("give this user the right to list the folder")
                .with_cause(&cause)
        })?;
        if !item.file_type().is_file() {
            continue;
        }
        let label = below(item.path(), base);
        let metadata = std::fs::metadata(item.path()).map_err(|cause| cannot_read(&label, &cause))?;
        files.push(Entry {
            path: item.path().to_owned(),
            stamp: Stamp::of(&metadata),
            keys: keys_of(&label),
            label,
        });
    }
    files.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(files)
}

/// Data files of a folder, whether a manifest lists them or not.
pub(crate) fn unlisted(folder: &Path) -> Result<Vec<Entry>> {
    walk(folder, folder)
}

/// A path below a folder, with `/` between its parts.
pub(crate) fn below(path: &Path, base: &Path) -> String {
    let relative = path.strip_prefix(base).unwrap_or(path);
    relative
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

fn glob(root: &Path, pattern: &str) -> Result<FileSet> {
    let matcher = matcher(pattern)?;
    // Walk only below the folders in front of the first wildcard.
    let fixed: PathBuf = pattern
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '{']))
        .collect();
    let start = root.join(&fixed);
    if !start.is_dir() {
        return Err(not_found(root, pattern));
    }
    let mut files = walk(&start, root)?;
    files.retain(|file| matcher.is_match(&file.label));
    if files.is_empty() {
        return Err(Error::new(Code::E0204, format!("no file in `{}` matches `{pattern}`", root.display()))
            .with_hint("check the pattern: `*` stays inside a folder, `**` goes through folders; `synqx discover` lists the files"));
    }
    let identity = format!("local_file:{}/{pattern}", canonical(root).display());
    Ok(FileSet {
        files,
        identity,
        manifest: None,
        notes: Vec::new(),
    })
}

fn matcher(pattern: &str) -> Result<globset::GlobMatcher> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|cause| {
            Error::new(Code::E0103, format!("`{pattern}` is not a pattern of file names"))
                .with_hint("use `*`, `?`, `[a-z]`, `{a,b}` and `**`")
                .with_cause(&cause)
        })
}

/// Columns that the folders of a path stand for: `year=2024/month=01/x.csv`.
fn keys_of(label: &str) -> Vec<(String, Option<String>)> {
    let mut parts: Vec<&str> = label.split('/').collect();
    parts.pop();
    parts
        .into_iter()
        .filter_map(|part| part.split_once('='))
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| {
            let value = (value != "__HIVE_DEFAULT_PARTITION__").then(|| unescape_percent(value));
            (key.to_owned(), value)
        })
        .collect()
}

fn unescape_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

/// Files and folders of parts below a root, by name: those a pattern matches, or the one of exactly that name.
pub(crate) fn discover(root: &Path, pattern: Option<&str>) -> Result<Vec<Asset>> {
    // `out/` and `out` are one folder, here as in `place`.
    let wanted = pattern.map(|text| text.trim_end_matches('/'));
    let wanted = wanted
        .map(|text| matcher(text).map(|matcher| (text, matcher)))
        .transpose()?;
    let mut assets = list(root)?;
    if let Some((text, matcher)) = wanted {
        let fits = |name: &str| name == text || matcher.is_match(name);
        assets.retain(|asset| fits(asset.name.trim_end_matches('/')));
    }
    assets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(assets)
}

fn list(root: &Path) -> Result<Vec<Asset>> {
    if root.is_file() {
        let metadata =
            std::fs::metadata(root).map_err(|cause| cannot_read(&root.display().to_string(), &cause))?;
        return Ok(vec![asset(
            label(root, ""),
            AssetKind::File,
            None,
            metadata.len(),
        )]);
    }
    let mut assets = Vec::new();
    let mut managed: Vec<String> = Vec::new();
    let walker = WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter();
    for item in walker.filter_entry(|e| e.depth() == 0 || !is_aside(&e.file_name().to_string_lossy())) {
        let Ok(item) = item else { continue };
        let name = below(item.path(), root);
        if managed.iter().any(|folder| name.starts_with(folder.as_str())) {
            continue;
        }
        if item.file_type().is_dir() {
            if let Ok(Some(manifest)) = manifest::read(item.path()) {
                let rows = manifest.parts.iter().map(|part| part.rows).sum::<Option<u64>>();
                let bytes = manifest.parts.iter().map(|part| part.bytes).sum();
                let shown = if name.is_empty() {
                    "./".to_owned()
                } else {
                    format!("{name}/")
                };
                managed.push(if name.is_empty() {
                    String::new()
                } else {
                    shown.clone()
                });
                assets.push(asset(shown, AssetKind::Folder, rows, bytes));
            }
        } else if Format::of_name(&name).is_some() {
            let bytes = item.metadata().map_or(0, |m| m.len());
            assets.push(asset(name, AssetKind::File, None, bytes));
        }
    }
    Ok(assets)
}

fn asset(name: String, kind: AssetKind, rows: Option<u64>, bytes: u64) -> Asset {
    Asset {
        name,
        kind,
        rows,
        bytes: Some(bytes),
        comment: None,
    }
}
