//! The directory of one bed's data, logs and configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::guard;

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
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&path)?;
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
