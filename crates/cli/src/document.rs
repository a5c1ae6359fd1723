//! Finding and reading the document named on the command line.
//!
//! Relative paths inside the document are relative to its folder, wherever the command runs. What the
//! document says is judged by `synqx_model`; this file only knows paths.

use std::path::{Path, PathBuf};

use synqx_model::nearest::nearest;
use synqx_model::{Code, Error, PipelineSpec, Result, ResultExt};

/// Names that need not be said.
const DEFAULTS: [&str; 2] = ["pipeline.yaml", "synqx.yaml"];

/// A document and where it is.
#[derive(Debug)]
pub(crate) struct Document {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// Its folder.
    pub(crate) base_dir: PathBuf,
    /// What it says.
    pub(crate) spec: PipelineSpec,
}

/// Reads a document, or the default one of this folder. Errors: `E0113` with the nearest name,
/// `E0101`–`E0116`.
pub(crate) fn load(path: Option<&Path>) -> Result<Document> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => DEFAULTS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
            .ok_or_else(|| no_default(Path::new(".")))?,
    };
    let text = std::fs::read_to_string(&path).map_err(|cause| unreadable(&path, &cause))?;
    let spec = PipelineSpec::from_text(&text)?;
    let base_dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Document { path, base_dir, spec })
}

/// Whether a word of the command line names a document rather than data: by its ending, and by being no URL.
pub(crate) fn looks_like_document(place: &str) -> bool {
    let ending = Path::new(place)
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase);
    !place.contains("://") && matches!(ending.as_deref(), Some("yaml" | "yml"))
}

/// Makes a file that must not exist yet. Errors: `E0114` when it does, or when it cannot be written.
pub(crate) fn create(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create_new(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    write().coded(Code::E0114, || format!("cannot write `{}`", path.display()))
}

fn no_default(folder: &Path) -> Error {
    let error = Error::new(
        Code::E0113,
        "there is no pipeline.yaml or synqx.yaml in this folder",
    );
    match documents(folder).as_slice() {
        [] => error.with_hint("name a document: `synqx run FILE`, or write one: `synqx init`"),
        found => error.with_hint(format!("name the document: `{}`", found.join("`, `"))),
    }
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    let shown = path.display();
    match cause.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let folder = path
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            let found = documents(folder);
            let error = Error::new(Code::E0113, format!("document `{shown}` not found"));
            match nearest(&name, found.iter().map(String::as_str)) {
                Some(near) => error.with_hint(format!("did you mean `{}`?", beside(path, near))),
                None if found.is_empty() => {
                    error.with_hint("check the path, or write an example: `synqx init`")
                }
                None => error.with_hint(format!("documents in that folder: `{}`", found.join("`, `"))),
            }
        }
        std::io::ErrorKind::InvalidData => {
            Error::new(Code::E0101, format!("document `{shown}` is not UTF-8 text"))
                .with_hint("save it as UTF-8")
        }
        std::io::ErrorKind::IsADirectory => {
            Error::new(Code::E0113, format!("`{shown}` is a folder, not a document"))
                .with_hint(format!("name the document: `{shown}/pipeline.yaml`"))
        }
        _ => Error::new(Code::E0113, format!("document `{shown}` cannot be opened"))
            .with_detail(format!("The system said: {cause}."))
            .with_hint("give the user that runs synqx the right to read it"),
    }
}

fn beside(path: &Path, name: &str) -> String {
    path.with_file_name(name).display().to_string()
}

/// Files of a folder that may be documents, sorted.
fn documents(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"))
        .collect();
    names.sort();
    names
}
