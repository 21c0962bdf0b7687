//! What was committed and may not be on the disk yet.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::StoreError;

/// Tells when something that was committed is on the disk, to everybody who asks.
#[derive(Clone, Debug, Default)]
pub struct Synced(Option<Shared<BoxFuture<'static, Result<(), StoreError>>>>);

impl Synced {
    /// What `told` tells.
    pub(crate) fn when(
        told: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Self {
        Self(Some(told.boxed().shared()))
    }

    /// Whether it is not yet known to be there: somebody has to wait.
    pub fn is_pending(&self) -> bool {
        let told = self.0.as_ref();
        told.is_some_and(|told| !matches!(told.peek(), Some(Ok(()))))
    }

    /// Waits until it is there.
    ///
    /// # Errors
    /// When it did not get there, or nobody knows.
    pub async fn wait(&self) -> Result<(), StoreError> {
        match &self.0 {
            Some(told) => told.clone().await,
            None => Ok(()),
        }
    }
}
