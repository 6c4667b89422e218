//! The floors of `src/lib.rs`: a module uses lower floors only.

use std::path::{Path, PathBuf};

const FLOORS: &[&[&str]] = &[
    &["bytes", "ints", "num", "tree", "extent", "stream"],
    &["format", "net"],
    &["image"],
    &["store", "board", "device", "source"],
    &["compose", "flash", "inspect", "update", "verify"],
    &["cli"],
];

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|modules| modules.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is on no floor: add it to src/lib.rs and to this test"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules that a source text names by `crate::`, with line numbers; groups such as `crate::{a, b}` included.
fn uses(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for rest in line.split("crate::").skip(1) {
            assert!(
                !rest.starts_with('{'),
                "write `use crate::module::...` one by one, so that the floors can be seen: {line}"
            );
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((number, name));
        }
    }
    found
}

fn violations(file: &str, text: &str, module: &str) -> Vec<String> {
    let own = floor(module);
    uses(text)
        .into_iter()
        .filter(|(_, used)| used != module && floor(used) >= own)
        // Floor 0 has no peers that hide anything: a tree is a tree.
        .filter(|(_, used)| !(own == 0 && floor(used) == 0))
        .map(|(line, used)| {
            format!("{file}:{line}: {module} (floor {own}) uses {used} (floor {})", floor(&used))
        })
        .collect()
}

#[test]
fn a_module_uses_lower_floors_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in rust_files(&src) {
        let inner = file.strip_prefix(&src).unwrap();
        let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        seen += 1;
        wrong.extend(violations(
            &inner.display().to_string(),
            &std::fs::read_to_string(&file).unwrap(),
            module,
        ));
    }
    assert!(seen > 20, "only {seen} files were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_a_use_of_a_higher_floor_and_of_a_peer() {
    assert_eq!(violations("x.rs", "use crate::cli::ui;", "format").len(), 1);
    assert_eq!(violations("x.rs", "    let a = crate::net::Client;", "format").len(), 1, "a peer");
    assert_eq!(violations("x.rs", "use crate::tree::Node; // crate", "format").len(), 0);
}
