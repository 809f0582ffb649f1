//! `bed up`: a bed in the foreground, for people and for scripts that wait for its env file.

use std::{
    collections::HashSet,
    convert::Infallible,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Bed, Options, bed, clock::Stopwatch, guard};

/// Why the bed did not stay up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bed itself.
    #[error(transparent)]
    Bed(#[from] bed::Error),
    /// The directory for the env file and the logs.
    #[error("cannot use {}: {source}", path.display())]
    Dir {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another bed of this directory is up.
    #[error("a bed is up already in {}: end it first, or give --dir another directory", .0.display())]
    Taken(PathBuf),
}

/// Brings a bed up, writes `dir/env`, waits for `end`, and takes all down.
pub async fn up(dir: &Path, operator: bool, end: impl Future<Output = ()>) -> Result<(), Error> {
    let dir = std::path::absolute(dir).map_err(|source| Error::Dir {
        path: dir.into(),
        source,
    })?;
    let _lock = claim(&dir)?;
    let mut end = std::pin::pin!(end);
    let env = EnvFile::new(dir.join("env"));
    let options = Options {
        run_dir: Some(dir.join("run")),
        operator,
        ..Options::default()
    };
    let bed = tokio::select! {
        bed = start(options) => bed?,
        () = &mut end => return Ok(()),
    };
    env.write(&bed)?;
    eprintln!("In another terminal:  . {}", env.path.display());
    eprintln!("Logs are in {}. Ctrl-C takes the bed down.", bed.dir().display());
    tokio::select! {
        () = &mut end => {}
        never = tell_what_ends(&bed) => match never {},
    }
    drop(env);
    eprintln!("taking the bed down");
    bed.stop().await;
    Ok(())
}

/// Says once of each part that it is gone; who killed it on purpose may go on without it.
async fn tell_what_ends(bed: &Bed) -> Infallible {
    let mut told = HashSet::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for part in bed.parts() {
            if part.pid().is_none() && told.insert(part.name()) {
                tracing::error!("{} has ended; its log is {}", part.name(), part.log().display());
            }
        }
    }
}

async fn start(options: Options) -> Result<Bed, Error> {
    let took = Stopwatch::start();
    let bed = Bed::start(options).await?;
    eprintln!("the bed is up after {} s", took.elapsed().as_secs());
    Ok(bed)
}

/// One bed a directory.
fn claim(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let open = || {
        fs::create_dir_all(dir)?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
    };
    let failed = |source| Error::Dir {
        path: path.clone(),
        source,
    };
    let file = open().map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Taken(dir.into())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The file whose presence says that the bed is up. It is gone when the bed is.
struct EnvFile {
    path: PathBuf,
}

impl EnvFile {
    /// Removes one that a machine's sudden end has left.
    fn new(path: PathBuf) -> Self {
        drop(fs::remove_file(&path));
        Self { path }
    }

    /// Shell exports, complete from the first moment the file is there.
    fn write(&self, bed: &Bed) -> Result<(), Error> {
        let scratch = self.path.with_extension("new");
        let write = || {
            guard::watch_path(&self.path)?;
            fs::write(&scratch, exports(bed))?;
            fs::rename(&scratch, &self.path)
        };
        write().map_err(|source| Error::Dir {
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
        guard::forget_path(&self.path);
    }
}

fn exports(bed: &Bed) -> String {
    let path = bed.tools().path().map(|dir| dir.display().to_string()).join(":");
    let variables = [
        ("KUBECONFIG", bed.kubeconfig().display().to_string()),
        ("PROMETHEUS_URL", bed.prometheus_url()),
        ("GATEWAY_URL", bed.gateway_url()),
        ("SLACK_URL", bed.slack.url()),
    ];
    let exports = variables.map(|(name, value)| format!("export {name}={}\n", quoted(&value)));
    format!("{}export PATH={}:\"$PATH\"\n", exports.concat(), quoted(&path))
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
