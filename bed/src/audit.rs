//! The API server's audit log, read: who asked for what.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Deserialize;

/// The audit log of one bed.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// One request that the API server answered. A watch appears when it is opened, and again when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it came in.
    pub time: Timestamp,
    /// `ResponseStarted` (an open watch) or `ResponseComplete`.
    pub stage: String,
    /// The user, such as `system:serviceaccount:default:birdwatch`; whom it acted as, where it impersonated.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, in plural; empty for a path that is none, such as `/version`.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// The path and the query.
    pub uri: String,
    /// The HTTP status code of the answer.
    pub code: u16,
    /// What the client calls itself.
    pub user_agent: String,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file, one JSON object a line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The present end, for [`AuditLog::since`].
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn mark(&self) -> io::Result<u64> {
        Ok(self.path.metadata()?.len())
    }

    /// Everything since the bed started.
    ///
    /// # Errors
    /// When the log cannot be read, or holds a line that is not an audit event.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        self.since(0)
    }

    /// Everything written since `mark`, in the order of the answers.
    ///
    /// # Errors
    /// When the log cannot be read, or holds a line that is not an audit event.
    pub fn since(&self, mark: u64) -> io::Result<Vec<Entry>> {
        let mut file = File::open(&self.path)?;
        let mut text = String::new();
        if mark == 0 {
            text.push('\n');
        } else {
            file.seek(SeekFrom::Start(mark - 1))?;
        }
        file.read_to_string(&mut text)?;
        // The first line may have been half written at the mark, the last one may be now.
        let whole = text.find('\n').zip(text.rfind('\n'));
        let whole = whole.map_or("", |(start, end)| &text[start..end]);
        whole.lines().skip(1).map(parse).collect()
    }

    /// The same one by one, for a log too long to be held at once.
    ///
    /// # Errors
    /// When the log cannot be read, or holds a line that is not an audit event.
    pub fn each_since(&self, mark: u64, mut take: impl FnMut(Entry)) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.saturating_sub(1)))?;
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        if mark > 0 {
            lines.read_line(&mut line)?;
        }
        loop {
            line.clear();
            lines.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok(());
            }
            take(parse(&line)?);
        }
    }
}

fn parse(line: &str) -> io::Result<Entry> {
    let event: Event = serde_json::from_str(line)?;
    let object = event.object_ref.unwrap_or_default();
    Ok(Entry {
        time: event.request_received_timestamp,
        stage: event.stage,
        user: event.impersonated_user.unwrap_or(event.user).username,
        verb: event.verb,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        uri: event.request_uri,
        code: event.response_status.map_or(0, |status| status.code),
        user_agent: event.user_agent,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/b/status","verb":"patch","user":{"username":"system:serviceaccount:default:birdwatch","uid":"u","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],"userAgent":"birdwatch/0.1","objectRef":{"resource":"deployments","namespace":"a","name":"b","apiGroup":"apps","apiVersion":"v1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-20T10:00:00.000001Z","stageTimestamp":"2026-11-20T10:00:00.000002Z"}"#;

    #[test]
    fn an_event_says_who_asked_for_what() {
        let entry = parse(LINE).unwrap();
        assert_eq!(entry.user, "system:serviceaccount:default:birdwatch");
        assert_eq!((entry.verb.as_str(), entry.code), ("patch", 200));
        assert_eq!(
            [
                &entry.group,
                &entry.resource,
                &entry.subresource,
                &entry.namespace,
                &entry.name
            ],
            ["apps", "deployments", "status", "a", "b"]
        );
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_for_the_next_reading() {
        let path = std::env::temp_dir().join(format!("birdwatch-bed-audit-{}", std::process::id()));
        std::fs::write(&path, format!("{LINE}\n{}", &LINE[..100])).unwrap();
        let log = AuditLog::new(path.clone());
        let entries = log.entries().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn a_mark_may_lie_in_a_line_or_between_two() {
        let path = std::env::temp_dir().join(format!("birdwatch-bed-marks-{}", std::process::id()));
        std::fs::write(&path, format!("{LINE}\n{LINE}\n{LINE}\n")).unwrap();
        let log = AuditLog::new(path.clone());
        let line = LINE.len() as u64 + 1;
        let marks = [0, line, line + 10, 3 * line];
        let found = marks.map(|mark| log.since(mark).unwrap().len());
        let one_by_one = marks.map(|mark| {
            let mut count = 0;
            log.each_since(mark, |_| count += 1).unwrap();
            count
        });
        std::fs::remove_file(path).unwrap();
        assert_eq!(found, [3, 2, 1, 0]);
        assert_eq!(one_by_one, found);
    }
}
