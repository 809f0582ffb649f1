//! What the operator wrote, as the API server's audit log has it.

use std::time::Duration;

use birdwatch_bed::audit::Entry;
use birdwatch_bed::operator;
use tokio::time::Instant;

use crate::support::{A_WHILE, Service};

/// No write for so long, and there is no loop: checks come every second.
const QUIET: Duration = Duration::from_secs(5);

impl Service {
    /// Writes of the operator's in the service's namespace since `mark`, in the order of the answers.
    pub(crate) fn written_since(&self, mark: u64) -> Vec<Entry> {
        let user = format!("system:serviceaccount:{}:", operator::NAME);
        let mut entries = self.bed.audit().since(mark).unwrap();
        entries.retain(|entry| {
            entry.user.starts_with(&user)
                && entry.namespace == self.app.namespace
                && matches!(entry.verb.as_str(), "create" | "update" | "patch" | "delete")
        });
        entries
    }

    /// Those of them that changed routes or subsets.
    pub(crate) fn mesh_writes_since(&self, mark: u64) -> Vec<Entry> {
        let mut entries = self.written_since(mark);
        entries.retain(|entry| entry.group == "networking.istio.io" && entry.code < 300);
        entries
    }

    /// The audit log's present end.
    pub(crate) fn mark(&self) -> u64 {
        self.bed.audit().mark().unwrap()
    }

    /// Waits until the operator has written nothing at all in the service's namespace for a while.
    pub(crate) async fn quiet(&self) {
        let (mut mark, mut last, mut since) = (self.mark(), Vec::new(), Instant::now());
        let waited = tokio::time::timeout(A_WHILE, async {
            while since.elapsed() < QUIET {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let next = self.mark();
                let writes = self.written_since(mark);
                mark = next;
                if !writes.is_empty() {
                    (last, since) = (writes, Instant::now());
                }
            }
        });
        let quiet = waited.await.is_ok();
        assert!(
            quiet,
            "{}: the operator goes on writing: {last:#?}",
            self.app.namespace
        );
    }
}
