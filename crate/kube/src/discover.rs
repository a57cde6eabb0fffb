//! One look at one service.
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::client::Client;
use crate::error::Failure;
use crate::external;
use crate::feed::{Object, Scope, list};
use crate::gather::external_endpoint;
use crate::resolve::{Policy, resolve};
use crate::snapshot::ServiceSnapshot;
use crate::{KubeError, Target};

/// The label by which a slice names its service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Read a service's endpoints once. Needs `list` on `services` and `endpointslices` of the namespace. Drop the future to cancel.
///
/// Errors: [`KubeError::NotFound`] when there is no such service, [`KubeError::Auth`], [`KubeError::Target`], [`KubeError::Watch`].
pub async fn discover(client: &Client, target: &Target) -> Result<ServiceSnapshot, KubeError> {
    target.check(client.default_namespace())?;
    let namespace = target.namespace.clone().unwrap_or_else(|| client.default_namespace().into());
    let name = target.service.as_str();
    let services = Scope { namespace: namespace.clone(), fields: Some(format!("metadata.name={name}")), labels: None };
    let slices = Scope { namespace: namespace.clone(), fields: None, labels: Some(format!("{SERVICE_LABEL}={name}")) };
    let (services, slices) =
        tokio::try_join!(list_or_renew::<Service>(client, &services), list_or_renew::<EndpointSlice>(client, &slices))?;
    let fault = |message: String| KubeError::Target { service: name.into(), namespace: namespace.clone(), message };
    let Some(service) = services.iter().find(|s| s.metadata.name.as_deref() == Some(name)) else {
        return Err(KubeError::NotFound { service: name.into(), namespace });
    };
    let options = client.options();
    let policy = Policy { family: options.family, allow_external: options.allow_external };
    let resolved = resolve(service, slices.iter(), target.port.as_ref(), policy).map_err(fault)?;
    let mut endpoints = resolved.endpoints;
    for (host, port) in &resolved.external {
        let found = external::lookup(host, options.family).await.map_err(fault)?;
        endpoints.extend(found.into_iter().map(|ip| external_endpoint(ip, *port)));
    }
    Ok(ServiceSnapshot::new(name, &namespace, endpoints))
}

/// A client may be older than its token: one 401 is answered with fresh credentials.
async fn list_or_renew<K: Object>(client: &Client, scope: &Scope) -> Result<Vec<K>, KubeError> {
    let fail = |f: Failure| f.into_error("list", K::RESOURCE, &scope.namespace, client.server());
    match list::<K>(client, scope).await {
        Ok((items, _)) => Ok(items),
        Err(failure) if failure.status == 401 && client.renew().await.is_ok() => {
            list::<K>(client, scope).await.map(|(items, _)| items).map_err(fail)
        }
        Err(failure) => Err(fail(failure)),
    }
}
