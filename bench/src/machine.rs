//! What a run ran on, and which versions it measured.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use birdwatch_bed::{clock, operator, tools::Tools};

use crate::results::Machine;

/// Parts, each with the module of the bed that pins it and the Go module whose version is told.
const PINNED: [(&str, &str, &str); 4] = [
    ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    ("Kubernetes", "kube", "k8s.io/kubernetes"),
    ("Flagger", "flagger", "github.com/fluxcd/flagger"),
    ("Argo Rollouts", "argo", "github.com/argoproj/argo-rollouts"),
];

impl Machine {
    /// This one, now.
    pub(crate) fn here(birdwatch: &Path, tools: &Tools, with_rivals: bool) -> Self {
        let mut versions: BTreeMap<String, String> = PINNED
            .into_iter()
            .filter_map(|(name, dir, module)| {
                let path = operator::root().join("bed/tools").join(dir).join("go.mod");
                let text = fs::read_to_string(path).ok()?;
                Some((name.to_owned(), pinned(&text, module)?))
            })
            .collect();
        versions.insert("BirdWatch".into(), version_of_tree(birdwatch));
        let mut programs = vec![("BirdWatch", birdwatch.to_owned())];
        if with_rivals {
            programs.push(("Flagger", tools.program("flagger")));
            programs.push(("Argo Rollouts", tools.program("rollouts-controller")));
        }
        let size = |(name, path): (&str, std::path::PathBuf)| {
            Some((name.to_owned(), fs::metadata(path).ok()?.len()))
        };
        Self {
            date: clock::now().to_string(),
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory(&text("/proc/meminfo")).unwrap_or(0),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            versions,
            binaries: programs.into_iter().filter_map(size).collect(),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The version that a go.mod requires of a module.
fn pinned(go_mod: &str, module: &str) -> Option<String> {
    let words = |line: &str| {
        let mut words = line.trim_start_matches("require ").split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        (name == module && version.starts_with('v')).then(|| version.to_owned())
    };
    go_mod.lines().find_map(words)
}

/// What the program says, and the commit of the tree.
fn version_of_tree(birdwatch: &Path) -> String {
    let said = |command: &mut Command| {
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = said(Command::new(birdwatch).arg("--version")).unwrap_or_else(|| "unknown".into());
    let version = version.trim_start_matches("birdwatch ").to_owned();
    let describe = ["describe", "--always", "--dirty", "--exclude=*"];
    let commit = said(Command::new("git").args(describe).current_dir(operator::root()));
    commit.map_or(version.clone(), |commit| format!("{version} ({commit})"))
}

/// The value behind the first line of that name, as `/proc` writes it.
fn field(text: &str, name: &str) -> Option<String> {
    let named = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(named)
}

fn memory(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?
        .trim_end_matches("kB")
        .trim()
        .parse()
        .ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_a_go_mod_requires() {
        let text = "module x\n\nrequire k8s.io/kubernetes v1.36.4\n\nrequire (\n\ta.b/c v1.0.0 // indirect\n)\n\
                    replace a.b/c => a.b/d v2.0.0\n";
        assert_eq!(pinned(text, "k8s.io/kubernetes"), Some("v1.36.4".into()));
        assert_eq!(pinned(text, "a.b/c"), Some("v1.0.0".into()));
        assert_eq!(pinned(text, "a.b/d"), None);
    }

    #[test]
    fn every_pinned_part_has_a_version() {
        for (name, dir, module) in PINNED {
            let path = operator::root().join("bed/tools").join(dir).join("go.mod");
            assert!(
                pinned(&fs::read_to_string(path).unwrap(), module).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn the_kernel_is_read_as_it_writes() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nMemTotal:       2048 kB\n";
        assert_eq!(field(text, "model name"), Some("A CPU".into()));
        assert_eq!(memory(text), Some(2));
    }
}
