//! Chooses the route of a request: hosts, paths, headers; and what the route does to the request and its answer. Pure.
//!
//! A [`RouteTable`] is compiled once by `config::route` and never changes. [`RouteTable::find`] allocates nothing; the
//! [`RouteMatch`] that it gives pins the table for the stream.

mod action;
mod duration;
mod hash_policy;
mod index;
mod internal_redirect;
mod matcher;
mod mirror;
mod mutation;
mod pattern;
mod retry;
mod source;
mod table;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod virtual_cluster;

pub use action::{
    Action, Choice, Connect, Destination, DirectResponse, Forward, HostRewrite, PathRedirect, PathRewrite, Redirect, Upgrade, WeightBy,
    WeightedCluster,
};
pub use duration::{GrpcTimeout, StreamDuration, Waits, set_grpc_timeout};
pub use hash_policy::{HashCookie, HashPolicy, HashRule, HashSource};
pub use internal_redirect::{InternalRedirectPolicy, RedirectPredicate, Redirected};
pub use matcher::{
    Conditions, CookieMatch, FilterStateMatch, HeaderMatch, HeaderTest, Lookup, PathMatch, QueryMatch, RuntimeFraction, TlsMatch,
};
pub use mirror::Mirror;
pub use mutation::{AppendAction, HeaderAddition, HeaderMutations, HeaderValue};
pub use pattern::{Case, Pattern, Rewrite, StringMatch};
pub use retry::{BackOff, PassOver, Pause, RateLimited, ResetFormat, Retriable, RetryOn, RetryPolicy, number};
pub use source::{Origin, RouteSource, Routes};
pub use table::{
    DomainError, Domains, FilterConfigs, PerFilter, RequireTls, Route, RouteConfig, RouteKind, RouteMatch, RouteTable, TableSettings,
    VirtualHost,
};
pub use template::{Template, TemplateRewrite};
pub use tree::{Input, Map, OnMatch, Parts, Predicate, Tree};
pub use virtual_cluster::VirtualCluster;
