//! From a name to addresses, and which of them may be connected to.
//!
//! A connection is made to the very addresses that were looked at: a name that means another address a moment later gains
//! nothing.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

use super::client::BoxError;
use crate::public::is_public;

/// What may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Whatever the name resolves to.
    Anything,
    /// Public addresses alone.
    Public,
}

/// The system's resolver, with a look at what it says.
#[derive(Clone)]
pub(crate) struct Resolver {
    system: GaiResolver,
    reach: Reach,
}

impl Resolver {
    pub(crate) fn new(reach: Reach) -> Self {
        Self { system: GaiResolver::new(), reach }
    }
}

/// A name has an address that may not be connected to; the connection is not made.
#[derive(Debug)]
pub(crate) struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name resolves to an address that is not public")
    }
}

impl std::error::Error for NotPublic {}

impl Service<Name> for Resolver {
    type Response = IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<IntoIter<SocketAddr>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.system.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (looking, reach) = (self.system.call(name), self.reach);
        Box::pin(async move {
            let found: Vec<SocketAddr> = looking.await?.collect();
            // One that is not is enough: a name with both kinds is a trick, or a mistake.
            let refused = reach == Reach::Public && found.iter().any(|address| !is_public(address.ip()));
            if refused { Err(NotPublic.into()) } else { Ok(found.into_iter()) }
        })
    }
}
