//! A replica's own clocks: those of the machine, shifted by what a file says. `shift.c` does it, preloaded.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::SignedDuration;
use tokio::sync::OnceCell;

static LIBRARY: OnceCell<PathBuf> = OnceCell::const_new();

/// The library, compiled once; C's compiler is there because a crate of ours needs it.
pub(crate) async fn library(folder: &Path) -> &'static Path {
    let built = LIBRARY.get_or_init(async || {
        let library = folder.join("shift.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bed_leaders/shift.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        assert!(compiled.unwrap().success());
        library
    });
    built.await
}

/// The clocks of one replica.
pub(crate) struct Shift(PathBuf);

impl Shift {
    pub(crate) fn new(file: PathBuf) -> Self {
        std::fs::write(&file, [0; 16]).unwrap();
        Self(file)
    }

    pub(crate) fn file(&self) -> &Path {
        &self.0
    }

    /// Its time of day is off by this from now on.
    pub(crate) fn wall(&self, by: SignedDuration) {
        self.write(0, by);
    }

    /// Its monotonic time is off by this from now on.
    pub(crate) fn monotonic(&self, by: SignedDuration) {
        self.write(8, by);
    }

    fn write(&self, at: u64, by: SignedDuration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&self.0).unwrap();
        file.write_all_at(&nanos.to_ne_bytes(), at).unwrap();
    }
}
