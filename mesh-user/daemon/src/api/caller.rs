//! Who asks, and what it may ask for.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, connect_info::Connected},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use mesh_core::{
    model::{
        PrincipalName, Role,
        group::{NetworkGroup, Org},
    },
    registry::{Rights, without_owner},
};
use tokio::net::UnixListener;

use super::errors::{Denied, Failure};
use crate::registrar::Rejection;

/// Of one connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// As the log has it.
    pub(super) name: Arc<str>,
    pub(super) rights: Arc<Rights>,
}

impl Caller {
    /// The mode of the socket says who comes this way.
    pub(super) fn on_socket() -> Caller {
        Caller { name: "the socket".into(), rights: Arc::new(Rights::All) }
    }

    /// Who showed a certificate with this common name.
    pub(super) fn principal(name: &str, principals: &BTreeMap<PrincipalName, Vec<Role>>) -> Caller {
        let roles = principals.get(&PrincipalName(name.to_owned())).cloned().unwrap_or_default();
        Caller { name: name.into(), rights: Arc::new(Rights::Roles(roles)) }
    }

    pub(super) fn administers(&self, org: &Org) -> Result<(), Failure> {
        let needed = || Failure::permission(format!("{} lacks the role: admin of {org}", self.name));
        if self.rights.administers(org) { Ok(()) } else { Err(needed()) }
    }

    pub(super) fn runs_peers(&self, group: &NetworkGroup) -> Result<(), Failure> {
        let (org, label) = (&group.owner_id, &group.label);
        let needed = || Failure::permission(format!("{} lacks the role: member of {org}/{label}", self.name));
        if self.rights.runs_peers(group) { Ok(()) } else { Err(needed()) }
    }

    /// Of whatever group.
    pub(super) fn runs_some_peers(&self) -> Result<(), Failure> {
        let needed =
            || Failure::permission(format!("{} lacks a role: admin of an org, or member of a group", self.name));
        if self.rights.runs_some_peers() { Ok(()) } else { Err(needed()) }
    }

    /// Those of the inter-cluster network.
    pub(super) fn sees_objects(&self, own: &Org) -> Result<(), Failure> {
        let needed = || Failure::permission(format!("{} lacks the role: read, or admin of {own}", self.name));
        if self.rights.sees_objects(own) { Ok(()) } else { Err(needed()) }
    }

    /// What is about the node itself.
    pub(super) fn reads_all(&self) -> Result<(), Failure> {
        let needed = || Failure::permission(format!("{} lacks the role: read", self.name));
        if self.rights.reads_all() { Ok(()) } else { Err(needed()) }
    }

    /// A rejection, without what only those are told who read everything.
    pub(super) fn told(&self, mut rejection: Rejection) -> Failure {
        let hide = |path: &str, message: &mut String| {
            if let Some(without) = without_owner(path, message) {
                *message = without;
            }
        };
        match &mut rejection {
            _ if self.rights.reads_all() => {}
            Rejection::Refused(refusal) => hide(&refusal.path, &mut refusal.message),
            Rejection::Problems(problems) => {
                problems.0.iter_mut().for_each(|problem| hide(&problem.path, &mut problem.message));
            }
            Rejection::Overtaken | Rejection::Node(_) | Rejection::Store(_) => {}
        }
        rejection.into()
    }

    pub(super) fn has_role(&self) -> Result<(), Failure> {
        match &*self.rights {
            Rights::Roles(roles) if roles.is_empty() => {
                Err(Failure::permission(format!("{:?} has no role here", self.name)))
            }
            Rights::All | Rights::Roles(_) => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let known = parts.extensions.get::<ConnectInfo<Caller>>();
        Ok(known.expect("both listeners say who connects").0.clone())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(_stream: IncomingStream<'_, UnixListener>) -> Self {
        Caller::on_socket()
    }
}

/// Lets nobody pass who has no role at all, and logs what is refused for want of one.
pub(super) async fn admit(caller: Caller, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = match caller.has_role() {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    if let Some(Denied(reason)) = response.extensions().get::<Denied>() {
        tracing::warn!(principal = &*caller.name, request = %format_args!("{method} {uri}"), reason, "refused");
    }
    response
}
