//! No circles of files: within a crate, two files that need each other are one file or three.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Module = Vec<String>;

/// Code of one file, without comments, tests and inline modules.
struct Source {
    statements: Vec<String>,
}

/// Files of a crate, and the names that each exports from other files.
struct Crate {
    sources: BTreeMap<Module, Source>,
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

/// Collects every module of a crate with its file, the root first.
fn find_modules(folder: &Path, path: &Module, found: &mut BTreeMap<Module, PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_stem().expect("a name").to_string_lossy();
        let mut module = path.clone();
        if !matches!(&*name, "lib" | "main" | "mod") {
            module.push(name.into_owned());
        }
        match file.is_dir() {
            true => find_modules(&file, &module, found),
            false if file.extension().is_some_and(|kind| kind == "rs") => {
                found.insert(module, file);
            }
            false => {}
        }
    }
}

impl Source {
    fn parse(text: &str) -> Source {
        let mut code = String::new();
        // Indentation of the inline module that is left out: tests, or one whose `super` is the file itself.
        let mut inline: Option<usize> = None;
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default().trim_end();
            let indent = line.len() - line.trim_start().len();
            let declaration = line
                .trim_start()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ");
            match inline {
                Some(outer) if indent == outer && line.trim() == "}" => inline = None,
                Some(_) => {}
                None if declaration.starts_with("mod ") && line.ends_with('{') => {
                    inline = Some(indent);
                }
                None => code.extend([line.trim_start(), "\n"]),
            }
        }
        let code = code.replace('\n', " ").replace(", ", ",");
        let code = code.replace("{ ", "{").replace(",}", "}");
        Source {
            statements: code.split(';').map(|code| code.trim().to_owned()).collect(),
        }
    }
}

/// Returns whether a statement exports names from other files.
fn is_export(statement: &str) -> bool {
    ["pub use ", "pub(crate) use ", "pub(super) use "]
        .iter()
        .any(|export| statement.starts_with(export) || statement.contains(&format!(" {export}")))
}

impl Crate {
    fn read(folder: &Path) -> Crate {
        let mut files = BTreeMap::new();
        find_modules(folder, &Module::new(), &mut files);
        let sources: BTreeMap<Module, Source> = files
            .into_iter()
            .map(|(module, file)| {
                let text = std::fs::read_to_string(file).expect("a source in UTF-8");
                (module, Source::parse(&text))
            })
            .collect();
        let mut found = Crate {
            sources,
            exports: BTreeMap::new(),
        };
        let exports = found.sources.iter().map(|(module, source)| {
            let statements = source.statements.iter().filter(|code| is_export(code));
            let paths = statements.flat_map(|statement| found.paths(module, statement));
            let names =
                paths.filter_map(|path| Some((path.last()?.clone(), found.file_of_path(&path))));
            (module.clone(), names.collect())
        });
        found.exports = exports.collect();
        found
    }

    /// Returns the paths in a statement that begin at the root, at a parent, or at a child of the module.
    fn paths(&self, module: &Module, statement: &str) -> Vec<Module> {
        let mut found = Vec::new();
        let words = statement.split(|c: char| !c.is_alphanumeric() && !"_:{,".contains(c));
        for word in words {
            let Some((first, rest)) = word.split_once("::") else {
                continue;
            };
            let mut child = module.clone();
            child.push(first.trim_start_matches(['{', ',']).to_owned());
            let (base, rest) = match first {
                "crate" => (&[][..], rest),
                "super" => (&module[..module.len().saturating_sub(1)], rest),
                "self" => (&module[..], rest),
                // The root names its modules to export and to wire them: only the exports count.
                _ if self.sources.contains_key(&child)
                    && (!module.is_empty() || is_export(statement)) =>
                {
                    (&child[..], rest)
                }
                _ => continue,
            };
            let (path, group) = rest.split_once('{').unwrap_or((rest, ""));
            for item in group.split(',') {
                let names = path.split("::").chain(item.split("::"));
                let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
                found.push(base.iter().cloned().chain(names).collect());
            }
        }
        found
    }

    /// Returns the file that a path leads to.
    fn file_of_path(&self, path: &Module) -> Module {
        let mut file = path.clone();
        while !self.sources.contains_key(&file) {
            file.pop().expect("the root is a module");
        }
        file
    }

    /// Returns the files that a module needs: a name is looked up where it is defined, not where it is exported again.
    fn needs(&self, module: &Module) -> BTreeSet<Module> {
        let statements = self.sources[module].statements.iter();
        let mut found = BTreeSet::new();
        for statement in statements.filter(|code| !is_export(code)) {
            for path in self.paths(module, statement) {
                let mut file = self.file_of_path(&path);
                let exported = path
                    .get(file.len())
                    .and_then(|name| self.exports[&file].get(name));
                if let Some(target) = exported {
                    file = target.clone();
                }
                found.insert(file);
            }
        }
        found.remove(module);
        found
    }
}

#[test]
fn no_files_of_a_crate_need_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut circles = Vec::new();
    for entry in std::fs::read_dir(crates).expect("the crates") {
        let folder = entry.expect("an entry").path().join("src");
        let found = Crate::read(&folder);
        let mut needs: BTreeMap<Module, BTreeSet<Module>> = found
            .sources
            .keys()
            .map(|module| (module.clone(), found.needs(module)))
            .collect();
        // A file that needs no remaining file is in no circle. The files that remain at the end are in a circle, or need one.
        while let Some(free) = needs.iter().find(|(_, needed)| needed.is_empty()) {
            let free = free.0.clone();
            needs.remove(&free);
            for needed in needs.values_mut() {
                needed.remove(&free);
            }
        }
        circles.extend(
            needs
                .into_iter()
                .map(|(module, needed)| (folder.clone(), module, needed)),
        );
    }
    assert_eq!(circles, [], "these files are in a circle, or need one");
}
