//! The image, where there is no container engine: the build step of the Dockerfile as it stands there, and what comes
//! of it in a root directory that holds what the Dockerfile copies and nothing else.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "../fake_api/mod.rs"]
mod fake_api;
mod slack;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// A million bytes.
const MB: u64 = 1_000_000;

#[test]
fn the_binary_is_at_most_14_mb() {
    let size = fs::metadata(&*BINARY).unwrap().len();
    assert!((MB..=14 * MB).contains(&size), "{size} bytes");
}

#[test]
fn the_binary_runs_with_nothing_else_in_its_root() {
    let root = Root::new("version");
    let output = root.run(&["--version"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = concat!("birdwatch ", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_repository() {
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap();
    let version = toolchain.split('"').nth(1).expect("a channel");
    let base = instructions("FROM").remove(0);
    assert!(
        base.starts_with(&format!("rust:{version}-")),
        "{base} is not Rust {version}"
    );
}

#[test]
fn the_image_starts_the_binary_as_nobody_in_an_empty_root() {
    assert_eq!(instructions("FROM").last().expect("a last stage"), "scratch");
    assert_eq!(instructions("ENTRYPOINT"), [r#"["/birdwatch"]"#]);
    assert_eq!(instructions("USER"), ["65532:65532"]);
    let values = fs::read_to_string(repository().join("charts/birdwatch/values.yaml")).unwrap();
    assert!(
        values.contains("runAsUser: 65532"),
        "chart and image disagree on the user"
    );
}

#[test]
fn the_build_copies_in_every_file_that_the_sources_are_made_of() {
    let ignore = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let kept: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "bed/Cargo.toml",
        "bed/src",
        "bench/Cargo.toml",
        "bench/src",
    ] {
        assert!(kept.contains(&needed), "{needed} does not reach the build");
        assert!(repository().join(needed).exists(), "{needed} is gone");
    }
}

/// The binary as the Dockerfile builds it; the first use builds.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let step = instructions("RUN")
        .into_iter()
        .find(|run| run.contains("cargo build"))
        .expect("a build step");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory");
    let mut build = Command::new("sh");
    build
        .args(["-ec", &step])
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", target);
    // What cargo tells this test is not for the cargo it starts.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*name) {
            build.env_remove(&*name);
        }
    }
    let status = build.status().expect("sh starts");
    assert!(
        status.success(),
        "the build step of the Dockerfile failed: {step}"
    );
    let architecture = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    target.join(architecture).join("release/birdwatch")
});

/// A root directory as the last stage of the Dockerfile fills it.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a directory of ours");
        let root = Self(path);
        let copies = instructions("COPY")
            .into_iter()
            .filter(|copy| copy.starts_with("--from="));
        for copy in copies {
            let [_, from, to] = copy.split(' ').collect::<Vec<_>>()[..] else {
                panic!("COPY {copy}: not a stage, a source and a destination")
            };
            let from = match from.strip_prefix("/birdwatch/") {
                Some("birdwatch") => BINARY.clone(),
                Some(file) => repository().join(file),
                None => PathBuf::from(from),
            };
            root.add(to, &from);
        }
        root
    }

    /// Puts a copy of the file `from` of this machine at `to` in the root.
    fn add(&self, to: &str, from: &Path) {
        let to = self.0.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
    }

    /// Writes `text` at `to` in the root, in place of what is there.
    fn write(&self, to: &str, text: &str) {
        let to = self.0.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::write(to, text).expect("a file");
    }

    /// Runs the image's binary to its end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command()
            .args(arguments)
            .env_clear()
            .output()
            .expect("chroot starts")
    }

    /// The image's binary with this directory as its root: as the image's user where we may choose, else as the only
    /// user that an unprivileged user namespace has.
    fn command(&self) -> Command {
        let user = Command::new("id").arg("-u").output().expect("id starts").stdout;
        let mut command = if user.trim_ascii() == b"0" {
            let mut chroot = Command::new("/usr/sbin/chroot");
            chroot.arg(format!("--userspec={}", instructions("USER")[0]));
            chroot
        } else {
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "/usr/sbin/chroot"]);
            unshare
        };
        command.arg(&self.0).arg("/birdwatch");
        command
    }
}

/// What stands behind each instruction of that name in the Dockerfile.
fn instructions(name: &str) -> Vec<String> {
    let dockerfile = fs::read_to_string(repository().join("Dockerfile")).expect("the Dockerfile");
    let found = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map(str::to_owned).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
