//! The dependency graph and the absences that ARCHITECTURE.md promises, checked against `cargo metadata`.
//!
//! Layers stay layers only while nothing points upwards, and an absence (no DataFusion in the SDK, no network in
//! the model) is the easiest thing to lose without noticing. A crate that has no row in the table below is a
//! finding: a new crate states its place. What licences allow is in `licences`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::Finding;
use super::tree::Tree;
use crate::failure::{Explain, Result};
use crate::process;

const CONNECTORS: &str = "crates/connectors/";
/// In the table: every connector.
const ANY_CONNECTOR: &str = "connectors/*";

/// What each crate may name, from the top down. A row may name crates that do not exist yet.
const ALLOWED: [(&str, &[&str]); 14] = [
    (
        "synqx-cli",
        &[
            "control",
            "agent",
            "engine",
            ANY_CONNECTOR,
            "secrets",
            "sdk",
            "model",
        ],
    ),
    ("synqx-control", &["store", "api", "secrets", "model"]),
    (
        "synqx-agent",
        &["engine", ANY_CONNECTOR, "secrets", "api", "sdk", "model"],
    ),
    ("synqx-store", &["model"]),
    ("synqx-api", &["model"]),
    ("synqx-engine", &["plan", "sdk", "model"]),
    ("synqx-plan", &["sdk", "model"]),
    ("synqx-secrets", &["sdk", "model"]),
    (ANY_CONNECTOR, &["sdk", "model"]),
    ("synqx-http", &["sdk", "model"]),
    ("synqx-testkit", &["sdk", "model"]),
    ("synqx-sdk", &["model"]),
    ("synqx-model", &[]),
    ("xtask", &[]),
];

/// What tests may name on top of that.
const ALLOWED_IN_TESTS: [(&str, &[&str]); 4] = [
    ("synqx-cli", &["testkit"]),
    ("synqx-engine", &["testkit", ANY_CONNECTOR]),
    ("synqx-plan", &["testkit"]),
    (ANY_CONNECTOR, &["testkit"]),
];

/// Crates that must not be reachable through normal dependencies. A final `*` stands for any ending.
const ABSENT: [(&str, &[&str]); 2] = [
    (
        "synqx-model",
        &[
            "tokio",
            "reqwest",
            "hyper",
            "async-std",
            "smol",
            "socket2",
            "mio",
            "datafusion*",
        ],
    ),
    ("synqx-sdk", &["datafusion*"]),
];

/// Crates of which there is exactly one version, or at most one when nothing needs it.
const ONE_VERSION: [&str; 5] = ["arrow-array", "libsqlite3-sys", "tokio", "rustls", "datafusion"];

/// Crates that must not be in the graph at all: rustls is the only TLS stack.
const BANNED: [&str; 3] = ["openssl-sys", "native-tls", "openssl"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
    Build,
}

#[derive(Debug)]
struct Named {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
pub(super) struct Package {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
    /// The manifest relative to the root; `None` for a package from a registry.
    pub(super) manifest: Option<String>,
    /// What the manifest names, whether or not it is built.
    named: Vec<Named>,
}

/// Every package of the lock file, and which one is reached from which.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) packages: Vec<Package>,
    /// Ids reached through normal dependencies.
    normal: BTreeMap<String, Vec<String>>,
}

impl Graph {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let text =
            process::capture(process::cargo(root).args(["metadata", "--format-version", "1", "--locked"]))?;
        let metadata = serde_json::from_str(&text).explain(|| "cargo metadata is no JSON".to_owned())?;
        Ok(Self::of(&metadata))
    }

    fn of(metadata: &Value) -> Self {
        let root = text(&metadata["workspace_root"]);
        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let packages = list(&metadata["packages"])
            .iter()
            .map(|package| Package {
                id: text(&package["id"]),
                name: text(&package["name"]),
                version: text(&package["version"]),
                licence: package["license"].as_str().map(str::to_owned),
                manifest: members.contains(&text(&package["id"])).then(|| {
                    text(&package["manifest_path"])
                        .trim_start_matches(&root)
                        .trim_start_matches('/')
                        .to_owned()
                }),
                named: list(&package["dependencies"]).iter().map(named).collect(),
            })
            .collect();
        let normal = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let reached = list(&node["deps"])
                    .iter()
                    .filter(|dep| is_normal(dep))
                    .map(|dep| text(&dep["pkg"]));
                (text(&node["id"]), reached.collect())
            })
            .collect();
        Self { packages, normal }
    }

    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// The packages of this repository, each with its manifest.
    fn members(&self) -> impl Iterator<Item = (&Package, &str)> {
        self.packages
            .iter()
            .filter_map(|package| Some((package, package.manifest.as_deref()?)))
    }

    /// The row of the tables that a crate of this repository belongs to; `None` for a crate from elsewhere.
    fn row(&self, name: &str) -> Option<String> {
        let (_, manifest) = self.members().find(|(package, _)| package.name == name)?;
        Some(if manifest.starts_with(CONNECTORS) {
            ANY_CONNECTOR.to_owned()
        } else {
            name.to_owned()
        })
    }

    /// Names of everything reached from a package through normal dependencies.
    fn closure(&self, id: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(here) = open.pop() {
            for next in self.normal.get(here).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        self.packages
            .iter()
            .filter(|package| seen.contains(package.id.as_str()))
            .map(|p| p.name.as_str())
            .collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn named(dependency: &Value) -> Named {
    let kind = match dependency["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    Named {
        name: text(&dependency["name"]),
        kind,
    }
}

fn is_normal(dep: &Value) -> bool {
    list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// Nothing points upwards.
pub(super) fn direction(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, manifest) in graph.members() {
        let row = graph.row(&package.name).unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == row) else {
            let words = format!(
                "{} has no row in the table of xtask/src/tidy/graph.rs",
                package.name
            );
            findings.push(Finding::file("direction", manifest, words));
            continue;
        };
        let in_tests = ALLOWED_IN_TESTS
            .iter()
            .find(|(name, _)| *name == row)
            .map_or(&[][..], |(_, extra)| extra);
        for dependency in &package.named {
            let Some(target) = graph.row(&dependency.name) else {
                continue;
            };
            let short = target.trim_start_matches("synqx-");
            let fine =
                allowed.contains(&short) || (dependency.kind == Kind::Dev && in_tests.contains(&short));
            if !fine {
                let words = format!("{} must not name {}", package.name, dependency.name);
                findings.push(Finding::file("direction", manifest, words));
            }
        }
    }
    findings
}

/// Only `plan` knows the query engine.
pub(super) fn datafusion_in_plan_alone(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, manifest) in graph
        .members()
        .filter(|(package, _)| package.name != "synqx-plan")
    {
        for dependency in package
            .named
            .iter()
            .filter(|dependency| matches("datafusion*", &dependency.name))
        {
            let words = format!("{} is named in crates/plan/Cargo.toml alone", dependency.name);
            findings.push(Finding::file("absence", manifest, words));
        }
    }
    findings
}

/// What must not be built into a crate is not reached by any path.
pub(super) fn absent_from_closure(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, absent) in ABSENT {
        let Some((package, manifest)) = graph.members().find(|(package, _)| package.name == name) else {
            continue;
        };
        let closure = graph.closure(&package.id);
        for found in closure
            .iter()
            .filter(|found| absent.iter().any(|pattern| matches(pattern, found)))
        {
            findings.push(Finding::file(
                "absence",
                manifest,
                format!("{name} must not depend on {found}"),
            ));
        }
    }
    findings
}

/// Two versions of these would not understand each other's values, or would be linked twice.
pub(super) fn one_version(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ONE_VERSION {
        let of_name = graph.packages.iter().filter(|package| package.name == name);
        let versions: Vec<&str> = of_name.map(|package| package.version.as_str()).collect();
        if versions.len() > 1 {
            let words = format!(
                "{name} is there in {} versions: {}",
                versions.len(),
                versions.join(", ")
            );
            findings.push(Finding::file("one-version", "Cargo.lock", words));
        }
    }
    findings
}

/// Crates that must not come in by any door.
pub(super) fn banned(graph: &Graph) -> Vec<Finding> {
    let found = graph
        .packages
        .iter()
        .filter(|package| BANNED.contains(&package.name.as_str()));
    found
        .map(|package| {
            Finding::file(
                "banned-crate",
                "Cargo.lock",
                format!("{} is banned", package.name),
            )
        })
        .collect()
}

/// Every crate takes the lints of the workspace.
pub(super) fn inherits_lints(graph: &Graph, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, manifest) in graph.members() {
        let text = tree.text(manifest).unwrap_or_default();
        let mut lines = text
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != "[lints]")
            .skip(1);
        let inherits = lines
            .by_ref()
            .take_while(|line| !line.starts_with('['))
            .any(|line| line.replace(' ', "") == "workspace=true");
        if !inherits {
            findings.push(Finding::file("lints", manifest, "no `[lints] workspace = true`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A package: name, folder or nothing for a registry, and its dependencies as (name, kind).
    type Row<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, Option<&'a str>)]);

    fn graph(rows: &[Row<'_>]) -> Graph {
        let packages: Vec<Value> = rows
            .iter()
            .map(|(name, folder, deps)| {
                let deps: Vec<Value> = deps.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
                let manifest = format!("/src/{}/Cargo.toml", folder.unwrap_or("registry"));
                json!({"id": name, "name": name, "version": "1.0.0", "manifest_path": manifest, "dependencies": deps})
            })
            .collect();
        let members: Vec<&str> = rows
            .iter()
            .filter(|row| row.1.is_some())
            .map(|row| row.0)
            .collect();
        let nodes: Vec<Value> = rows
            .iter()
            .map(|(name, _, deps)| {
                let deps: Vec<Value> = deps
                    .iter()
                    .map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind, "target": null}]}))
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        Graph::of(&json!({
            "workspace_root": "/src", "workspace_members": members,
            "packages": packages, "resolve": {"nodes": nodes}
        }))
    }

    fn said(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    const MODEL: Row<'_> = ("synqx-model", Some("crates/model"), &[]);
    const SDK: Row<'_> = ("synqx-sdk", Some("crates/sdk"), &[("synqx-model", None)]);
    const FILES: Row<'_> = (
        "synqx-files",
        Some("crates/connectors/files"),
        &[("synqx-sdk", None)],
    );

    #[test]
    fn an_edge_that_points_upwards_is_found() {
        let model: Row<'_> = ("synqx-model", Some("crates/model"), &[("synqx-sdk", Some("dev"))]);
        let files: Row<'_> = (
            "synqx-files",
            Some("crates/connectors/files"),
            &[("synqx-engine", None)],
        );
        let engine: Row<'_> = (
            "synqx-engine",
            Some("crates/engine"),
            &[("synqx-files", None), ("synqx-files", Some("dev"))],
        );
        let findings = direction(&graph(&[model, SDK, files, engine]));
        let expected = [
            "crates/model/Cargo.toml: direction: synqx-model must not name synqx-sdk",
            "crates/connectors/files/Cargo.toml: direction: synqx-files must not name synqx-engine",
            "crates/engine/Cargo.toml: direction: synqx-engine must not name synqx-files",
        ];
        assert_eq!(said(&findings), expected);
    }

    #[test]
    fn the_intended_edges_pass_and_a_new_crate_must_state_its_place() {
        let tests: &[(&str, Option<&str>)] = &[
            ("synqx-sdk", None),
            ("synqx-files", Some("dev")),
            ("synqx-testkit", Some("dev")),
        ];
        let engine: Row<'_> = ("synqx-engine", Some("crates/engine"), tests);
        let kit: Row<'_> = ("synqx-testkit", Some("crates/testkit"), &[("synqx-sdk", None)]);
        assert_eq!(direction(&graph(&[MODEL, SDK, FILES, kit, engine])), []);
        let built_in: Row<'_> = ("synqx-engine", Some("crates/engine"), &[("synqx-testkit", None)]);
        assert_eq!(direction(&graph(&[kit, SDK, MODEL, built_in])).len(), 1);
        let new: Row<'_> = ("synqx-new", Some("crates/new"), &[]);
        assert!(said(&direction(&graph(&[new])))[0].contains("has no row"));
    }

    #[test]
    fn datafusion_outside_plan_is_found() {
        let rows: [Row<'_>; 2] = [
            ("synqx-plan", Some("crates/plan"), &[("datafusion", None)]),
            (
                "synqx-engine",
                Some("crates/engine"),
                &[("datafusion-common", Some("dev"))],
            ),
        ];
        let findings = datafusion_in_plan_alone(&graph(&rows));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.starts_with("datafusion-common"));
    }

    #[test]
    fn what_must_be_absent_is_found_through_others_but_not_in_tests() {
        let sdk: Row<'_> = (
            "synqx-sdk",
            Some("crates/sdk"),
            &[("a", None), ("tokio", Some("dev"))],
        );
        let a: Row<'_> = ("a", None, &[("datafusion-expr", None)]);
        let model: Row<'_> = (
            "synqx-model",
            Some("crates/model"),
            &[("tokio", None), ("reqwest", Some("dev"))],
        );
        let leaves: [Row<'_>; 3] = [
            ("datafusion-expr", None, &[]),
            ("tokio", None, &[]),
            ("reqwest", None, &[]),
        ];
        let findings = absent_from_closure(&graph(&[sdk, a, model, leaves[0], leaves[1], leaves[2]]));
        let expected = [
            "crates/model/Cargo.toml: absence: synqx-model must not depend on tokio",
            "crates/sdk/Cargo.toml: absence: synqx-sdk must not depend on datafusion-expr",
        ];
        assert_eq!(said(&findings), expected);
    }

    #[test]
    fn a_second_arrow_and_a_second_tls_are_found() {
        let twice: [Row<'_>; 3] = [
            ("arrow-array", None, &[]),
            ("arrow-array", None, &[]),
            ("native-tls", None, &[]),
        ];
        let graph = graph(&twice);
        assert!(
            one_version(&graph)[0]
                .message
                .contains("arrow-array is there in 2 versions")
        );
        assert_eq!(banned(&graph)[0].message, "native-tls is banned");
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let tree = Tree::of(&[
            (
                "crates/model/Cargo.toml",
                "[package]\n[lints]\nworkspace = true\n[dependencies]\n",
            ),
            (
                "crates/sdk/Cargo.toml",
                "[lints]\n[dependencies]\nworkspace = true\n",
            ),
        ]);
        let findings = inherits_lints(&graph(&[MODEL, SDK]), &tree);
        assert_eq!(
            said(&findings),
            ["crates/sdk/Cargo.toml: lints: no `[lints] workspace = true`"]
        );
    }
}
