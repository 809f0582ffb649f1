//! A small shell process that outlives the bed by a moment: when the bed is gone, however it went, it kills what the
//! bed started and removes what the bed asked it to. It may not be asked to do anything else.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// Reads `+ group`, `- group`, `f path` and `k path` lines. End of input means that the bed's process has ended.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
groups=' '
while read -r verb what; do
  case $verb in
    +) groups="$groups$what " ;;
    -) case "$groups" in *" $what "*) groups="${groups%% $what *} ${groups#* $what }" ;; esac ;;
    f) set -- "$@" "$what" ;;
    k) for path do shift; [ "$path" = "$what" ] || set -- "$@" "$path"; done ;;
  esac
done
for group in $groups; do kill -KILL -- "-$group" 2>/dev/null; done
for path do
  for _ in 1 2 3 4 5; do rm -rf -- "$path" 2>/dev/null && break; sleep 0.3; done
done
"#;

static GUARD: OnceLock<Mutex<Guard>> = OnceLock::new();

struct Guard {
    pipe: ChildStdin,
    _child: Child,
}

/// Kill this process group when the bed's process has ended, unless [`forget_group`] comes first.
///
/// # Errors
/// When the guard cannot be started or has ended.
pub(crate) fn watch_group(group: u32) -> io::Result<()> {
    tell('+', &group.to_string())
}

/// The group has ended by itself.
pub(crate) fn forget_group(group: u32) {
    drop(tell('-', &group.to_string()));
}

/// Remove this file or directory when the bed's process has ended, unless [`forget_path`] comes first.
///
/// # Errors
/// When the guard cannot be started or has ended.
pub(crate) fn watch_path(path: &Path) -> io::Result<()> {
    tell('f', &path.display().to_string())
}

/// The path is to stay, or is gone already.
pub(crate) fn forget_path(path: &Path) {
    drop(tell('k', &path.display().to_string()));
}

fn tell(verb: char, what: &str) -> io::Result<()> {
    let guard = if let Some(guard) = GUARD.get() {
        guard
    } else {
        let fresh = Mutex::new(start()?);
        GUARD.get_or_init(|| fresh)
    };
    let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
    guard.pipe.write_all(format!("{verb} {what}\n").as_bytes())
}

fn start() -> io::Result<Guard> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT, "birdwatch-bed-guard"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // a Ctrl-C at the terminal is not for it
        .spawn()?;
    let pipe = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the guard has no input"))?;
    Ok(Guard { pipe, _child: child })
}
