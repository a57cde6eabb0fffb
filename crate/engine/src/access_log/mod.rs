//! Access logs: a filter, a format and a file; lines gather in the worker and a writer thread takes them in batches.

mod file;
mod filter;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use file::{File, Files, Target, flush_thread};
pub use filter::{Comparison, Filter, Op};

/// `AccessLogType`: what a line is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    /// A format that is no log line.
    #[default]
    NotSet,
    /// A stream has begun.
    DownstreamStart,
    /// A stream goes on.
    DownstreamPeriodic,
    /// A stream has ended.
    DownstreamEnd,
    /// A tunnel stands.
    DownstreamTunnelSuccessfullyEstablished,
}

impl LogType {
    /// As `%ACCESS_LOG_TYPE%` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogType::NotSet => "NotSet",
            LogType::DownstreamStart => "DownstreamStart",
            LogType::DownstreamPeriodic => "DownstreamPeriodic",
            LogType::DownstreamEnd => "DownstreamEnd",
            LogType::DownstreamTunnelSuccessfullyEstablished => "DownstreamTunnelSuccessfullyEstablished",
        }
    }
}

use crate::format::{Context, Format};

/// One compiled access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Which streams it takes; all without one.
    pub filter: Option<Filter>,
    /// The line.
    pub format: Format,
    /// Where the line goes.
    pub file: Arc<File>,
}

impl AccessLog {
    /// Writes the line of a stream that has ended, if the filter takes it.
    pub fn log(&self, context: &Context<'_>) {
        if self.filter.as_ref().is_none_or(|f| f.takes(context)) {
            self.file.write(|line| self.format.write(context, line));
        }
    }
}
