//! Outside systems, one each: a small trait and its real implementation. They ask and tell; they decide nothing.

pub mod api_server;
pub mod depth;
pub mod http;
pub mod prometheus;
pub mod size;
pub mod slack;
