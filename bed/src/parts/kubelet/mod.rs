//! The toy kubelet: keeps a node, binds every pod to it and runs each container as a plain process on an address of
//! the pod's own.
//!
//! What a process sees differs from a container in these points. It has no file system of its own: volumes lie in a
//! directory per pod, and mountPaths in arguments, environment and files from `ConfigMaps` are rewritten to it. It
//! finds the API server by `KUBECONFIG` instead of the in-cluster files (and only when its pod mounts a
//! `ServiceAccount` token, as there). There is no isolation: securityContext (runAsNonRoot too) and resources mean
//! nothing. Init containers are not run, exec and gRPC probes and volumes other than secret, configMap, downwardAPI,
//! projected and emptyDir are not done: such a pod says so and waits. Mounted files do not follow later changes of
//! their objects, tokens excepted.

mod account;
mod address;
mod board;
mod container;
mod end;
mod environment;
mod image;
mod logs;
mod node;
mod object;
mod pod;
mod probe;
mod problem;
mod status;
mod volume;

use std::{
    collections::HashMap,
    fmt, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt as _,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use address::Addresses;
use board::Board;
use end::Sighting;
pub use image::{Images, WORKLOAD_REPOSITORY};
use pod::Keeper;

use super::tls::TlsError;
pub use crate::process::Signal;

/// How a kubelet is to be.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// Name of its Node.
    pub node: String,
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Network address of the /24 on loopback whose addresses pods get.
    pub pod_net: Ipv4Addr,
    /// Where logs and volumes go.
    pub run_dir: PathBuf,
    /// The images it can run.
    pub images: Images,
}

/// Why a kubelet does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The kubeconfig cannot be used.
    #[error("the kubelet's kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refuses.
    #[error("the kubelet cannot keep its node: {0}")]
    Node(#[from] kube::Error),
    /// No HTTP client for probes.
    #[error("the kubelet cannot probe: {0}")]
    Http(#[from] reqwest::Error),
    /// The kubelet's runtime or directories cannot be had.
    #[error("the kubelet cannot start: {0}")]
    Io(#[from] io::Error),
    /// No certificate for those who ask for logs.
    #[error("the kubelet's certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// That certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The kubelet's runtime ended under it.
    #[error("the kubelet ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// Nothing of that pod runs.
    #[error("no process of pod {namespace}/{name} is running")]
    NotRunning {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A running kubelet. It has an async runtime of its own, so it outlives the one it was started from; when it is
/// dropped, the processes of its pods are killed.
#[derive(Debug)]
pub struct Kubelet {
    context: Arc<Context>,
    watching: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

/// What all pods of a kubelet share.
struct Context {
    config: KubeletConfig,
    client: Client,
    /// Where pods reach the API server.
    api_url: String,
    http: reqwest::Client,
    addresses: Arc<Addresses>,
    boards: Mutex<HashMap<(String, String), Arc<Board>>>,
    stop: CancellationToken,
    pods: TaskTracker,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Context {
    fn boards(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Board>>> {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs_of(&self, namespace: &str, pod: &str) -> PathBuf {
        logs_of(&self.config.run_dir, namespace, pod)
    }
}

fn logs_of(run_dir: &Path, namespace: &str, pod: &str) -> PathBuf {
    run_dir.join("logs").join("pods").join(namespace).join(pod)
}

impl Kubelet {
    /// Makes the Node and begins to take care of every pod that is bound to no other node.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub async fn start(config: KubeletConfig) -> Result<Self, KubeletError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kubelet")
            .enable_all()
            .build()?;
        let kubelet = runtime.spawn(async move {
            let context = context(config).await?;
            let (listener, port) = logs::listen().await?;
            node::keep(&context.client, &context.config.node, port).await?;
            tokio::spawn(logs::serve(Arc::clone(&context), listener));
            let watching = tokio::spawn(watch_pods(Arc::clone(&context)));
            Ok::<_, KubeletError>((context, watching))
        });
        match kubelet.await.map_err(KubeletError::from).flatten() {
            Ok((context, watching)) => Ok(Self {
                context,
                watching: Some(watching),
                runtime: Some(runtime),
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Sends a signal to the processes of a pod: [`Signal::KILL`] crashes it, [`Signal::STOP`] freezes it and
    /// [`Signal::CONT`] lets it go on.
    ///
    /// # Errors
    /// When none of its containers runs.
    pub fn kill_pod(&self, namespace: &str, name: &str, signal: Signal) -> Result<(), KubeletError> {
        let sent = self
            .board(namespace, name)
            .is_some_and(|board| board.signal(signal));
        if sent {
            Ok(())
        } else {
            Err(not_running(namespace, name))
        }
    }

    /// Process ids of the containers of a pod, in their order; none when nothing runs.
    #[must_use]
    pub fn pids(&self, namespace: &str, name: &str) -> Vec<u32> {
        self.board(namespace, name)
            .map(|board| board.pids())
            .unwrap_or_default()
    }

    /// All that the processes of a pod have written, restarts included; the pod may be gone already.
    #[must_use]
    pub fn pod_log(&self, namespace: &str, name: &str) -> String {
        let Ok(entries) = fs::read_dir(self.context.logs_of(namespace, name)) else {
            return String::new();
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let text = |path: &PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        paths.iter().filter_map(|path| text(path).ok()).collect()
    }

    /// Ends all processes, with two seconds of grace, and then the kubelet. The API server is not told.
    pub async fn shutdown(mut self) {
        self.context.stop.cancel();
        if let Some(watching) = self.watching.take() {
            // It has no result; that it panicked is in the log.
            let _ = watching.await;
        }
        self.context.pods.wait().await;
    }

    fn board(&self, namespace: &str, name: &str) -> Option<Arc<Board>> {
        self.context
            .boards()
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.context.stop.cancel();
        // Processes are killed when the tasks that own them are dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn not_running(namespace: &str, name: &str) -> KubeletError {
    KubeletError::NotRunning {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

async fn context(config: KubeletConfig) -> Result<Arc<Context>, KubeletError> {
    let kubeconfig = Kubeconfig::read_from(&config.kubeconfig)?;
    let http = super::http::client(Duration::from_mins(1))?;
    let cluster = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let api_url = cluster.cluster_url.to_string();
    fs::create_dir_all(&config.run_dir)?;
    Ok(Arc::new(Context {
        client: Client::try_from(cluster)?,
        api_url,
        http,
        addresses: Addresses::new(config.pod_net),
        boards: Mutex::default(),
        stop: CancellationToken::new(),
        pods: TaskTracker::new(),
        config,
    }))
}

/// Sees pods come and go, and has each kept by a task of its own.
async fn watch_pods(context: Arc<Context>) {
    let pods: Api<Pod> = Api::all(context.client.clone());
    let mut events = watcher(pods, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut kept = Kept {
        context: Arc::clone(&context),
        by_uid: HashMap::new(),
        listed: Vec::new(),
    };
    loop {
        let event = tokio::select! {
            () = context.stop.cancelled() => break,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => kept.take(event),
            Some(Err(error)) => tracing::warn!(%error, "the watch on pods broke, and is taken up again"),
            None => break,
        }
    }
    context.pods.close();
}

/// The pods that have a task.
struct Kept {
    context: Arc<Context>,
    by_uid: HashMap<String, watch::Sender<Sighting>>,
    /// Those that a listing under way has named.
    listed: Vec<String>,
}

impl Kept {
    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.push(pod.uid().unwrap_or_default());
                self.see(pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.by_uid
                    .retain(|uid, sightings| listed.contains(uid) || is_gone(sightings));
            }
            Event::Apply(pod) => self.see(pod),
            Event::Delete(pod) => {
                if let Some(sightings) = self.by_uid.remove(&pod.uid().unwrap_or_default()) {
                    is_gone(&sightings);
                }
            }
        }
    }

    fn see(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let pod = Arc::new(pod);
        if let Some(sightings) = self.by_uid.get(&uid) {
            sightings.send_replace(Some(pod));
            return;
        }
        if !self.is_ours(&pod) {
            return;
        }
        let (sender, sightings) = watch::channel(Some(Arc::clone(&pod)));
        self.by_uid.insert(uid, sender);
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let board = containers.map(|c| (c.name.as_str(), c.image.as_deref().unwrap_or_default()));
        let board = Arc::new(Board::new(board));
        self.context.boards().insert(key.clone(), Arc::clone(&board));
        let context = Arc::clone(&self.context);
        self.context.pods.spawn(async move {
            Keeper::new(Arc::clone(&context), pod, sightings, Arc::clone(&board))
                .keep()
                .await;
            let mut boards = context.boards();
            if boards
                .get(&key)
                .is_some_and(|present| Arc::ptr_eq(present, &board))
            {
                boards.remove(&key);
            }
        });
    }

    /// On our node or on none.
    fn is_ours(&self, pod: &Pod) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        node.is_none_or(|node| *node == self.context.config.node)
    }
}

/// Tells a pod's task that its pod is gone; always false, so that it can end a retain.
fn is_gone(sightings: &watch::Sender<Sighting>) -> bool {
    sightings.send_replace(None);
    false
}
