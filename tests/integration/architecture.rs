//! The house as `docs/design.md` describes it: floors, rooms without circles, files that can be read at one sitting.
//!
//! Each rule is a function of a [`House`], so that a house with one planted fault shows that the rule sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Lowest first. A module uses lower floors only, never a peer.
const FLOORS: &[&[&str]] = &[
    &["bytes", "ints", "sizes", "base_n", "escape", "tree", "extent", "stream", "workers"],
    &["format", "net"],
    &["image", "card"],
    &["store", "board", "device", "source"],
    &["compose", "flash", "inspect", "update", "verify"],
    &["cli"],
];

/// The most files in one folder, the longest file and the longest function, in lines.
const FILES: usize = 14;
const LINES: usize = 400;
const FUNCTION: usize = 80;

/// What breaks a rule today, one line each. The list may only get shorter: an entry that is no longer true fails too.
const KNOWN: &[&str] = &[];

/// Source files by their path below `src`, such as `store/mod.rs`.
struct House {
    files: BTreeMap<String, String>,
}

/// A module: `store::local` is `["store", "local"]`.
type Module = Vec<String>;

impl House {
    fn of_this_crate() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        assert!(files.len() > 200, "only {} files were looked at", files.len());
        Self { files }
    }

    fn with(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.into(), text.into());
        self
    }

    /// Every file but the two roots of the crate and files of tests, as (module, path, text without its tests).
    fn modules(&self) -> impl Iterator<Item = (Module, &str, &str)> {
        let is_code = |path: &str| !matches!(path, "lib.rs" | "main.rs") && !path.ends_with("tests.rs");
        self.files.iter().filter(move |(path, _)| is_code(path)).map(|(path, text)| {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            (module_of(path), path.as_str(), code)
        })
    }

    fn names(&self) -> BTreeSet<Module> {
        self.modules().map(|(module, ..)| module).collect()
    }
}

fn module_of(path: &str) -> Module {
    let mut segments: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    segments
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `a::{b, c::{self, D as E}}` as `a::b`, `a::c::self`, `a::c::D`.
fn flatten(tree: &str, before: &[String], found: &mut Vec<Module>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap();
        let mut all = before.to_vec();
        all.extend(path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        found.push(all);
        return;
    };
    let mut all = before.to_vec();
    all.extend(tree[..open].split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    let inner = &tree[open + 1..tree.rfind('}').expect("a group is closed")];
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[from..at].trim().is_empty() {
                    flatten(&inner[from..at], &all, found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// Every path that a text names: by `use` (what a `mod.rs` only hands on is left out) and in its code.
fn paths(text: &str, is_mod: bool) -> Vec<Module> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let start = statement.rfind("use ").filter(|at| {
            let line = statement[..*at].rsplit('\n').next().unwrap().trim();
            line.is_empty() || line == "pub" || line.starts_with("pub(") && line.ends_with(')')
        });
        let Some(at) = start else {
            rest.push_str(statement);
            continue;
        };
        let is_public = statement[..at].rsplit('\n').next().unwrap().trim().starts_with("pub");
        rest.push_str(&statement[..at]);
        if !(is_mod && is_public) {
            flatten(statement[at + 4..].trim_end_matches(';'), &[], &mut found);
        }
    }
    for key in ["crate::", "super::", "self::"] {
        for (at, _) in rest.match_indices(key) {
            if rest[..at].chars().next_back().is_some_and(|c| is_word(c) || c == ':' || c == '$') {
                continue;
            }
            let path: String = rest[at..].chars().take_while(|c| is_word(*c) || *c == ':').collect();
            found.push(path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

/// The module that a path leads to, and what is named in it.
fn target(path: &[String], here: &Module, names: &BTreeSet<Module>) -> Option<(Module, Module)> {
    let mut base = here.clone();
    let mut path = path.to_vec();
    match path[0].as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while path.first().is_some_and(|first| first == "super") {
                base.pop();
                path.remove(0);
            }
            path.insert(0, String::new());
        }
        child => {
            base.push(child.to_owned());
            if !names.contains(&base) {
                return None;
            }
        }
    }
    base.extend(path.into_iter().skip(1));
    let known = (0..=base.len()).rev().find(|n| names.contains(&base[..*n]))?;
    Some((base[..known].to_vec(), base[known..].to_vec()))
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|modules| modules.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is on no floor: add it to src/lib.rs and to this test"))
}

/// Uses of a peer or of a higher floor.
fn upward(house: &House) -> Vec<String> {
    let names = house.names();
    let mut wrong = Vec::new();
    for (module, path, text) in house.modules() {
        let own = floor(&module[0]);
        for named in paths(text, false) {
            assert!(named != ["crate"], "{path}: write `use crate::module::...` one by one");
            let Some((used, _)) = target(&named, &module, &names) else { continue };
            let Some(room) = used.first().filter(|room| **room != module[0]) else { continue };
            // Floor 0 has no peers that hide anything: a tree is a tree.
            if floor(room) >= own && !(own == 0 && floor(room) == 0) {
                wrong.push(format!(
                    "{path}: {} (floor {own}) uses {room} (floor {})",
                    module[0],
                    floor(room)
                ));
            }
        }
    }
    wrong.dedup();
    wrong
}

/// What each part of a folder uses of its other parts.
fn edges(folder: &Module, house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let names = house.names();
    let part = |module: &Module| {
        let inside = module.strip_prefix(folder.as_slice())?;
        Some(inside.first().cloned().unwrap_or_else(|| "mod.rs".into()))
    };
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, path, text) in house.modules() {
        let Some(from) = part(&module) else { continue };
        for named in paths(text, path.ends_with("mod.rs")) {
            let used = target(&named, &module, &names).and_then(|(used, _)| part(&used));
            if let Some(to) = used.filter(|to| *to != from) {
                edges.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    edges
}

fn reaches(from: &str, to: &str, edges: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = open.pop() {
        for next in edges.get(at).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

fn folders(house: &House) -> BTreeSet<Module> {
    house.names().iter().flat_map(|module| (1..module.len()).map(|n| module[..n].to_vec())).collect()
}

/// Parts of a folder that use each other, each circle as one line.
fn circles(house: &House) -> Vec<String> {
    let mut wrong = Vec::new();
    for folder in folders(house) {
        let edges = edges(&folder, house);
        let mut told = BTreeSet::new();
        for one in edges.keys() {
            let with: Vec<&String> = edges
                .keys()
                .filter(|other| reaches(one, other, &edges) && reaches(other, one, &edges))
                .collect();
            if with.len() > 1 && told.insert(with.clone()) {
                let with: Vec<&str> = with.into_iter().map(String::as_str).collect();
                wrong.push(format!("circle in {}: {}", folder.join("/"), with.join(", ")));
            }
        }
    }
    wrong
}

/// Files that take from a `mod.rs` above them what is defined or handed on there: a `mod.rs` looks down only.
fn from_above(house: &House) -> Vec<String> {
    let names = house.names();
    let mut wrong = Vec::new();
    for (module, path, text) in house.modules() {
        for named in paths(text, path.ends_with("mod.rs")) {
            let Some((used, item)) = target(&named, &module, &names) else { continue };
            let is_above = used.len() < module.len() && module.starts_with(&used) && !used.is_empty();
            if is_above && item.first().is_some_and(|first| first != "self") {
                wrong.push(format!("{path} takes {} from {}/mod.rs", item.join("::"), used.join("/")));
            }
        }
    }
    wrong.dedup();
    wrong
}

fn grandparents(house: &House) -> Vec<String> {
    let named = house.files.iter().filter(|(_, text)| text.contains(concat!("super::", "super::")));
    named.map(|(path, _)| format!("{path} names its parent's parent by `super`")).collect()
}

fn too_large(house: &House) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, text) in &house.files {
        *folders.entry(path.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default() += 1;
        if text.lines().count() > LINES {
            wrong.push(format!("{path} is longer than {LINES} lines"));
        }
        wrong.extend(long_functions(path, text));
    }
    let wide = folders.into_iter().filter(|(folder, files)| !folder.is_empty() && *files > FILES);
    wrong.extend(wide.map(|(folder, _)| format!("{folder} has more than {FILES} files")));
    wrong
}

/// Functions as rustfmt lays them out: they end at the brace that stands below their first letter.
fn long_functions(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut wrong = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let depth = line.len() - code.len();
        let head = code.trim_start_matches("pub ").trim_start_matches("const ");
        let head = if head.starts_with("pub(") {
            head.split_once(") ").map_or(head, |(_, rest)| rest)
        } else {
            head
        };
        let Some(name) = head.strip_prefix("fn ") else { continue };
        let end = format!("{}}}", " ".repeat(depth));
        let len = lines[at..].iter().position(|line| **line == end).map_or(0, |last| last + 1);
        if len > FUNCTION {
            let name: String = name.chars().take_while(|c| is_word(*c)).collect();
            wrong.push(format!("{path}: fn {name} is longer than {FUNCTION} lines"));
        }
    }
    wrong
}

#[test]
fn every_rule_holds_but_for_known_sinners() {
    let house = House::of_this_crate();
    let wrong: BTreeSet<String> =
        [upward(&house), circles(&house), from_above(&house), grandparents(&house), too_large(&house)]
            .into_iter()
            .flatten()
            .collect();
    let known: BTreeSet<String> = KNOWN.iter().map(|line| (*line).to_owned()).collect();
    let new: Vec<&str> = wrong.difference(&known).map(String::as_str).collect();
    let gone: Vec<&str> = known.difference(&wrong).map(String::as_str).collect();
    assert!(new.is_empty(), "rules of docs/design.md are broken:\n{}", new.join("\n"));
    assert!(gone.is_empty(), "no longer true, take them off the list:\n{}", gone.join("\n"));
}

/// A house of two floors in which nothing is wrong.
fn small() -> House {
    House { files: BTreeMap::new() }
        .with("store/mod.rs", "mod a;\nmod b;\npub use a::A;\n")
        .with("store/a.rs", "use crate::format::X;\npub struct A;\n")
        .with("store/b.rs", "use super::a::A;\n#[cfg(test)]\nmod tests { use crate::cli::Y; }\n")
        .with("format/mod.rs", "pub struct X;\n")
        .with("cli/mod.rs", "use crate::store::A;\n")
}

#[test]
fn the_small_house_breaks_no_rule() {
    let house = small();
    assert_eq!(upward(&house), [""; 0]);
    assert_eq!(circles(&house), [""; 0]);
    assert_eq!(from_above(&house), [""; 0]);
    assert_eq!(too_large(&house), [""; 0]);
}

#[test]
fn a_use_of_a_higher_floor_or_of_a_peer_is_seen() {
    for (name, text) in [
        ("format/x.rs", "use crate::cli::Y;\n"),
        ("store/a.rs", "fn f() {\n    crate::cli::main();\n}\n"),
        ("store/a.rs", "use crate::{\n    format::X,\n    cli::{self, Y},\n};\n"),
    ] {
        assert_eq!(upward(&small().with(name, text)).len(), 1, "{text}");
    }
    let peers = small().with("board/mod.rs", "use crate::store::A;\n");
    assert_eq!(upward(&peers), ["board/mod.rs: board (floor 3) uses store (floor 3)"]);
}

#[test]
fn a_circle_inside_a_folder_is_seen_whichever_way_it_is_written() {
    for text in [
        "use super::b::B;\npub struct A;\n",
        "pub struct A;\nfn f() {\n    super::b::f();\n}\n",
        "pub(super) use crate::store::{b::{B as C}};\npub struct A;\n",
    ] {
        assert_eq!(circles(&small().with("store/a.rs", text)), ["circle in store: a, b"], "{text}");
    }
    let through_a_folder = small()
        .with("store/c/mod.rs", "mod d;\n")
        .with("store/c/d.rs", "use crate::store::a::A;\n")
        .with("store/a.rs", "use super::c;\n");
    assert_eq!(circles(&through_a_folder), ["circle in store: a, c"]);
}

#[test]
fn a_mod_that_defines_what_its_children_import_is_seen() {
    let house = small().with("store/mod.rs", "mod a;\nmod b;\npub struct Error;\n");
    let house = house.with("store/a.rs", "use super::Error;\n");
    assert_eq!(from_above(&house), ["store/a.rs takes Error from store/mod.rs"]);
}

#[test]
fn a_file_of_401_lines_a_function_of_81_and_a_folder_of_15_files_are_seen() {
    let house = small().with("store/a.rs", &"\n".repeat(LINES + 1));
    assert_eq!(too_large(&house), ["store/a.rs is longer than 400 lines"]);
    let body = "        x();\n".repeat(FUNCTION - 1);
    let house =
        small().with("store/a.rs", &format!("impl A {{\n    pub(super) fn f() {{\n{body}    }}\n}}\n"));
    assert_eq!(too_large(&house), ["store/a.rs: fn f is longer than 80 lines"]);
    let mut house = small();
    for n in 0..FILES {
        house = house.with(&format!("format/f{n}.rs"), "");
    }
    assert_eq!(too_large(&house), ["format has more than 14 files"]);
}

#[test]
fn a_parent_of_a_parent_is_seen() {
    let house = small().with("store/a.rs", concat!("use super::", "super::format::X;\n"));
    assert_eq!(grandparents(&house).len(), 1);
}
