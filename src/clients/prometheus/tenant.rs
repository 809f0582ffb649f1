//! For whom a question is asked, and what of a server's series it may be about.

use std::borrow::Cow;

use super::{Failure, Question, Server, Servers};
use crate::core::query::{MAX_QUERY_CHARS, Only, QueryError, RestrictError};

impl Servers {
    /// The server of a question, and the query as it may be put to it.
    pub(super) fn for_tenant<'q>(&self, question: &'q Question) -> Result<(&Server, Cow<'q, str>), Failure> {
        let server = self.get(question.server.as_deref())?;
        let query = server.restricted(&question.namespace, &question.query)?;
        Ok((server, query))
    }
}

impl Server {
    /// The only series that this server may be asked about for a namespace; none: all.
    pub(super) fn only<'a>(&'a self, namespace: &'a str) -> Option<Only<'a>> {
        let label = self.config.enforced_label.as_deref()?;
        Some(Only {
            label,
            value: namespace,
        })
    }

    /// The query as it may be put to this server for a namespace.
    fn restricted<'q>(&self, namespace: &str, promql: &'q str) -> Result<Cow<'q, str>, Failure> {
        match self.only(namespace) {
            // What is cut for its length is another question.
            None => match promql.chars().count() {
                chars if chars > MAX_QUERY_CHARS => {
                    Err(RestrictError::from(QueryError::TooLong(chars)).into())
                }
                _ => Ok(Cow::Borrowed(promql)),
            },
            Some(only) => Ok(Cow::Owned(only.restrict(promql)?)),
        }
    }
}
