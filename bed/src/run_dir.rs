//! The directory of one bed's data, logs and configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::guard;

/// A file by which a bed knows a directory that it may empty.
const MARK: &str = ".birdwatch-bed";

/// A directory that is removed at the end, unless the caller named it.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    temporary: bool,
}

impl RunDir {
    /// `named`, emptied, or a new directory among the system's temporary files.
    pub(crate) fn create(named: Option<PathBuf>) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let temporary = named.is_none();
        let path = named.unwrap_or_else(|| {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            std::env::temp_dir().join(format!("birdwatch-bed-{}-{number}", std::process::id()))
        });
        let path = std::path::absolute(path)?;
        empty(&path)?;
        fs::create_dir_all(&path)?;
        fs::write(
            path.join(MARK),
            "A test bed keeps its data here and empties it when it starts.\n",
        )?;
        if temporary {
            guard::watch_path(&path)?;
        }
        for sub in ["logs", "kube"] {
            fs::create_dir(path.join(sub))?;
        }
        Ok(Self { path, temporary })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.temporary && fs::remove_dir_all(&self.path).is_ok() {
            guard::forget_path(&self.path);
        }
    }
}

/// Removes what an earlier bed has left, and nothing that a bed has not made.
fn empty(path: &Path) -> io::Result<()> {
    let is_empty = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    if is_empty {
        Ok(())
    } else if path.join(MARK).exists() {
        fs::remove_dir_all(path)
    } else {
        let message = format!("{} holds files that are not a bed's", path.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_emptied_only_where_a_bed_has_made_it() {
        let own = RunDir::create(None).unwrap();
        let (made, foreign) = (own.path().join("made"), own.path().join("foreign"));
        drop(RunDir::create(Some(made.clone())).unwrap());
        fs::write(made.join("old"), "").unwrap();
        drop(RunDir::create(Some(made.clone())).unwrap());
        assert!(made.join("logs").exists() && !made.join("old").exists());
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), "").unwrap();
        assert!(RunDir::create(Some(foreign.clone())).is_err());
        assert!(foreign.join("precious").exists());
        let path = own.path().to_owned();
        drop(own);
        assert!(!path.exists(), "a temporary one goes with its bed");
    }
}
