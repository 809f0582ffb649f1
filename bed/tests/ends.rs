//! Nothing of a bed stays behind, however it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use birdwatch_bed::{Bed, Options, process::Signal};
use rustix::process::{Pid, kill_process};

/// Command lines of all processes that run in `dir`, write there or were told of it.
fn processes_of(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let leads_there =
            |link: &str| fs::read_link(entry.path().join(link)).is_ok_and(|path| path.starts_with(dir));
        if leads_there("cwd") || leads_there("fd/1") || line.contains(&*dir.to_string_lossy()) {
            found.push(line);
        }
    }
    found
}

/// Asks every 50 ms, for up to `seconds`.
fn comes_true(seconds: u64, holds: impl Fn() -> bool) -> bool {
    (0..seconds * 20).any(|_| {
        thread::sleep(Duration::from_millis(50));
        holds()
    })
}

const PARTS: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "pilot-discovery",
    "envoy",
    "prometheus",
];

fn assert_all_run(dir: &Path) {
    let running = processes_of(dir);
    for part in PARTS {
        assert!(
            running.iter().any(|line| line.contains(part)),
            "{part} runs, among {running:#?}"
        );
    }
}

/// `bed up` in a directory of its own.
struct Up {
    child: Child,
    dir: PathBuf,
}

impl Up {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(fs::remove_dir_all(&dir));
        let child = Command::new(env!("CARGO_BIN_EXE_bed"))
            .args(["up", "--no-operator", "--dir"])
            .arg(&dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn env(&self) -> PathBuf {
        self.dir.join("env")
    }

    fn ready(name: &str) -> Self {
        let up = Self::new(name);
        assert!(comes_true(60, || up.env().exists()), "the env file appears");
        assert_all_run(&up.dir.join("run"));
        up
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_bed_that_is_stopped_leaves_no_process_and_no_file() {
    let bed = Bed::start(Options::default())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let dir = bed.dir().to_owned();
    assert_all_run(&dir);
    bed.stop().await;
    assert_eq!(processes_of(&dir), Vec::<String>::new());
    assert!(!dir.exists());
}

#[test]
fn a_bed_whose_process_is_killed_leaves_no_process_and_no_env_file() {
    let mut up = Up::ready("killed");
    let run_pod = ". \"$0\" && kubectl create deployment aleph --image=bed/workload:v1 --port=9001 && \
                   kubectl wait deployment aleph --for=condition=Available --timeout=30s";
    let out = Command::new("sh")
        .args(["-c", run_pod])
        .arg(up.env())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let pods = |dir: &Path| {
        processes_of(dir)
            .into_iter()
            .filter(|line| line.contains("workload"))
            .count()
    };
    assert_eq!(pods(&up.dir.join("run")), 1);
    up.signal(Signal::KILL);
    up.child.wait().unwrap();
    let run = up.dir.join("run");
    assert!(
        comes_true(5, || processes_of(&run).is_empty()),
        "{:#?}",
        processes_of(&run)
    );
    assert!(
        comes_true(5, || !up.env().exists()),
        "a stale env file would mislead"
    );
}

#[test]
fn a_bed_that_gets_sigterm_ends_in_order_and_gives_its_env_file_as_a_shell_reads_it() {
    let mut up = Up::ready("terminated");
    let script = ". \"$0\" && kubectl get namespace istio-system -o name && helm version --short >&2 && \
                  echo $PROMETHEUS_URL $GATEWAY_URL $SLACK_URL | tr ' ' '\\n' | grep -c http://127.0.0.1:";
    let out = Command::new("sh")
        .args(["-c", script])
        .arg(up.env())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "namespace/istio-system\n3\n",
        "{out:?}"
    );
    up.signal(Signal::TERM);
    assert!(up.child.wait().unwrap().success());
    assert!(!up.env().exists());
    assert_eq!(processes_of(&up.dir.join("run")), Vec::<String>::new());
}

#[test]
fn a_bed_that_gets_sigint_while_it_starts_ends_too_and_a_second_one_in_its_directory_is_refused() {
    let mut up = Up::new("interrupted");
    let run = up.dir.join("run");
    assert!(comes_true(60, || processes_of(&run)
        .iter()
        .any(|line| line.contains("kube-apiserver"))));
    let second = Command::new(env!("CARGO_BIN_EXE_bed"))
        .args(["up", "--dir"])
        .arg(&up.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("up already"), "{said}");
    up.signal(Signal::INT);
    assert!(up.child.wait().unwrap().success());
    assert!(!up.env().exists(), "it was never ready");
    assert_eq!(processes_of(&run), Vec::<String>::new());
    let told = BufReader::new(up.child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect::<Vec<_>>();
    assert!(
        !told.iter().any(|line| line.contains("the bed is up")),
        "{told:?}"
    );
}
