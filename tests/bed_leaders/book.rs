//! What every replica asked of the API server, when it was passed on, and whether all of them kept to their terms.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use birdwatch_bed::clock;
use birdwatch_bed::parts::proxy::Call;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

/// The lease of every replica here.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
/// How long after its last renewal a leader may begin a write.
const DEADLINE: Duration = Duration::from_secs(4);
/// What a busy machine may add between a look at the lease and the proxy: half of what is left for the write itself.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// What the Lease said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) holder: Option<String>,
    pub(crate) acquired: Option<Timestamp>,
    pub(crate) renewed: Option<Timestamp>,
    pub(crate) seconds: Option<i32>,
}

impl Record {
    pub(crate) fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            seconds: spec.lease_duration_seconds,
        }
    }

    fn in_body(body: &Value) -> Option<Self> {
        let lease: Lease = serde_json::from_value(body.clone()).ok()?;
        Some(Self::of(&lease))
    }
}

/// One call, as it was passed on.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Timestamp,
    pub(crate) replica: String,
    /// As in `patch virtualservices`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The weight that it gives the canary.
    pub(crate) weight: Option<i64>,
    /// What it makes of the Lease.
    pub(crate) record: Option<Record>,
    /// It was kept back while its sender stood still.
    pub(crate) held: bool,
    pub(crate) writes: bool,
}

impl Sent {
    /// A call that is passed on now.
    pub(crate) fn now(replica: &str, call: &Call, held: bool) -> Self {
        let is_lease = call.resource == "leases" && call.verb.writes();
        Self {
            at: clock::now(),
            replica: replica.to_owned(),
            kind: call.kind(),
            name: call.name.clone(),
            weight: weight(call),
            record: is_lease.then(|| Record::in_body(&call.json())).flatten(),
            held,
            // An Event tells of what was done, and does nothing.
            writes: call.verb.writes() && !["leases", "events"].contains(&call.resource.as_str()),
        }
    }
}

/// What a patch of weights gives the canary.
pub(crate) fn weight(call: &Call) -> Option<i64> {
    if call.kind() != "patch virtualservices" {
        return None;
    }
    let patch = call.json();
    let mut changes = patch.as_array()?.iter().filter(|one| one["op"] == "add");
    changes
        .find(|one| one["path"] == "/spec/http/0/route/1/weight")
        .and_then(|one| one["value"].as_i64())
}

/// Everything that the replicas of a stage asked for.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Vec<Sent>>);

impl Book {
    pub(crate) fn enter(&self, sent: Sent) {
        self.0.lock().unwrap().push(sent);
    }

    /// What a replica wrote since then is not held against it.
    pub(crate) fn excuse(&self, replica: &str, since: Timestamp) {
        let mut all = self.0.lock().unwrap();
        let of_it = all
            .iter_mut()
            .filter(|sent| sent.replica == replica && sent.at >= since);
        of_it.for_each(|sent| sent.held = true);
    }

    pub(crate) fn all(&self) -> Vec<Sent> {
        self.0.lock().unwrap().clone()
    }

    /// Writes of one replica since then, Lease and Events aside.
    pub(crate) fn writes(&self, replica: &str, since: Timestamp) -> Vec<Sent> {
        let mut all = self.all();
        all.retain(|sent| sent.writes && sent.replica == replica && sent.at >= since);
        all
    }
}

/// When a replica began to lead, by the call that made it so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) replica: String,
    pub(crate) from: Timestamp,
}

/// Every term: what was written to the Lease and was seen to stand there.
pub(crate) fn terms(sent: &[Sent], records: &[Record]) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    let mut begun = Vec::new();
    for call in sent {
        let Some(record) = call.record.as_ref().filter(|record| record.holder.is_some()) else {
            continue;
        };
        let term = (record.holder.clone(), record.acquired);
        let stood = records
            .iter()
            .any(|seen| (&seen.holder, seen.acquired) == (&term.0, term.1));
        if stood && !begun.contains(&term) {
            begun.push(term);
            terms.push(Term {
                replica: call.replica.clone(),
                from: call.at,
            });
        }
    }
    terms
}

/// Every write that no leader may send: in the term of another, or on a lease that is too old. Those that were kept back
/// on their way are not theirs to answer for.
pub(crate) fn trespasses(sent: &[Sent], records: &[Record]) -> Vec<String> {
    let terms = terms(sent, records);
    let mut renewed: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut found = Vec::new();
    for call in sent {
        if let Some(record) = &call.record {
            let stood = |seen: &&Record| (&seen.holder, seen.renewed) == (&record.holder, record.renewed);
            if records.iter().any(|seen| stood(&seen)) {
                renewed.insert(&call.replica, call.at);
            }
        }
        if !call.writes || call.held {
            continue;
        }
        let what = format!("{} writes ({} {})", call.replica, call.kind, call.name);
        match terms.iter().rfind(|term| term.from <= call.at) {
            Some(term) if term.replica == call.replica => {}
            Some(term) => found.push(format!("{what} in the term of {}", term.replica)),
            None => found.push(format!("{what} before anybody leads")),
        }
        let since = renewed.get(call.replica.as_str());
        let age = since.map(|since| call.at.duration_since(*since));
        if age.is_none_or(|age| age > (DEADLINE + ON_THE_WAY).try_into().unwrap()) {
            found.push(format!("{what} {age:?} after its last renewal"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn sent(millis: i64, replica: &str, record: Option<Record>) -> Sent {
        Sent {
            at: at(millis),
            replica: replica.to_owned(),
            kind: "update birdwatches/status".to_owned(),
            name: "aleph".to_owned(),
            weight: None,
            writes: record.is_none(),
            record,
            held: false,
        }
    }

    fn record(holder: &str, acquired: i64, renewed: i64) -> Record {
        Record {
            holder: Some(holder.to_owned()),
            acquired: Some(at(acquired)),
            renewed: Some(at(renewed)),
            seconds: Some(6),
        }
    }

    /// One leads from 0, renews at 2 s and is gone; two leads from 8 s. What is found wrong with a write.
    fn judged(millis: i64, replica: &str, held: bool) -> String {
        let records = [
            record("one", 0, 0),
            record("one", 0, 2000),
            record("two", 8000, 8000),
        ];
        let mut all: Vec<_> = records
            .iter()
            .map(|record| {
                let at = record.renewed.unwrap().as_millisecond();
                sent(at, record.holder.as_ref().unwrap(), Some(record.clone()))
            })
            .collect();
        // Refused: it never stood there.
        all.push(sent(8500, "one", Some(record("one", 0, 8500))));
        all.push(Sent {
            held,
            ..sent(millis, replica, None)
        });
        all.sort_by_key(|sent| sent.at);
        trespasses(&all, &records).join("; ")
    }

    #[test]
    fn a_write_in_the_term_of_another_or_on_an_old_lease_is_found() {
        assert_eq!(judged(1000, "one", false), "");
        assert_eq!(judged(6500, "one", false), "");
        assert!(judged(7500, "one", false).contains("after its last renewal"));
        assert!(judged(9000, "one", false).contains("in the term of two"));
        assert!(judged(1000, "two", false).contains("in the term of one"));
        assert_eq!(judged(9000, "two", false), "");
        assert_eq!(judged(9000, "one", true), "");
    }
}
