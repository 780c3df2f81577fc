//! No circles of files: within a crate, two files that need each other are one file or three.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Module = Vec<String>;

/// Every module of a crate with its file, the root first.
fn modules(folder: &Path, path: &Module, found: &mut BTreeMap<Module, PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_stem().expect("a name").to_string_lossy();
        let mut module = path.clone();
        if !matches!(&*name, "lib" | "main" | "mod") {
            module.push(name.into_owned());
        }
        match file.is_dir() {
            true => modules(&file, &module, found),
            false if file.extension().is_some_and(|kind| kind == "rs") => {
                found.insert(module, file);
            }
            false => {}
        }
    }
}

/// The modules that the file of `module` names in paths. What a parent only exports again is not counted, nor what tests use.
fn imports(module: &Module, file: &Path, all: &BTreeMap<Module, PathBuf>) -> BTreeSet<Module> {
    let text = std::fs::read_to_string(file).expect("a source in UTF-8");
    let lines = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines();
    let code: String = lines
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect();
    let mut found = BTreeSet::new();
    for statement in code.split(';').filter(|code| !code.starts_with("pub use")) {
        let statement = statement.replace(", ", ",");
        let words = statement.split(|c: char| !c.is_alphanumeric() && !"_:{,".contains(c));
        for word in words {
            let (base, rest) = match word.split_once("::") {
                Some(("crate", rest)) => (&[][..], rest),
                Some(("super", rest)) => (&module[..module.len().saturating_sub(1)], rest),
                Some(("self", rest)) => (&module[..], rest),
                _ => continue,
            };
            let (path, group) = rest.split_once('{').unwrap_or((rest, ""));
            for item in group.split(',') {
                let names = path.split("::").chain(item.split("::"));
                let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
                let mut target: Module = base.iter().cloned().chain(names).collect();
                while !all.contains_key(&target) {
                    target.pop().expect("the root is a module");
                }
                found.insert(target);
            }
        }
    }
    found.remove(module);
    found
}

#[test]
fn no_files_of_a_crate_need_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut circles = Vec::new();
    for entry in std::fs::read_dir(crates).expect("the crates") {
        let source = entry.expect("an entry").path().join("src");
        let mut files = BTreeMap::new();
        modules(&source, &Module::new(), &mut files);
        let mut needs: BTreeMap<Module, BTreeSet<Module>> = files
            .iter()
            .map(|(module, file)| (module.clone(), imports(module, file, &files)))
            .collect();
        // Whatever needs nothing that is left goes; what can't go is in a circle, or needs one.
        while let Some(free) = needs.iter().find(|(_, of)| of.is_empty()) {
            let free = free.0.clone();
            needs.remove(&free);
            for of in needs.values_mut() {
                of.remove(&free);
            }
        }
        circles.extend(needs.into_keys().map(|module| (source.clone(), module)));
    }
    assert_eq!(circles, [], "these files are in a circle, or need one");
}
