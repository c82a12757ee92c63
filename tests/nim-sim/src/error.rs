//! Why an exchange ended without an answer. The connection closes; nobody reads these but a debugger.

#[derive(Debug, thiserror::Error)]
pub(crate) enum SimError {
    #[error("the client left while its request was read")]
    RequestBody(#[source] hyper::Error),
    #[error("the stream was cut as the fault asked")]
    Cut,
}
