//! Reading and writing znodes from outside, as an operator with a ZooKeeper shell does.

use std::fmt;
use std::time::{Duration, Instant};

use zookeeper_client::{Acls, Client, CreateMode, Error, Stat};

const PATIENCE: Duration = Duration::from_secs(60);

/// A session of its own with an ensemble; a lost one is opened anew with the next call.
pub struct Znodes {
    runtime: tokio::runtime::Runtime,
    connect: String,
    client: std::sync::Mutex<Option<Client>>,
}

impl fmt::Debug for Znodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Znodes")
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

impl Znodes {
    /// Connects to the servers of a connection string.
    pub fn connect(connect: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let znodes = Self {
            runtime,
            connect: connect.to_owned(),
            client: std::sync::Mutex::new(None),
        };
        znodes.get("/")?;
        Ok(znodes)
    }

    /// The text of a znode; `None` if there is no such znode.
    pub fn get(&self, path: &str) -> anyhow::Result<Option<String>> {
        let path = path.to_owned();
        let answer = self.call(async |client| client.get_data(&path).await);
        match answer {
            Ok((data, _)) => Ok(Some(String::from_utf8_lossy(&data).into_owned())),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of the children of a znode, in no order.
    pub fn children(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let path = path.to_owned();
        Ok(self.call(async |client| client.list_children(&path).await)?)
    }

    /// When and how often a znode was written; `None` if there is no such znode.
    pub fn stat(&self, path: &str) -> anyhow::Result<Option<Stat>> {
        Ok(self.call(async |client| client.check_stat(path).await)?)
    }

    /// Writes a znode that exists.
    pub fn set(&self, path: &str, data: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.call(async |client| client.set_data(path, data.as_ref(), None).await)?;
        Ok(())
    }

    /// Creates a persistent znode.
    pub fn create(&self, path: &str, data: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let mode = CreateMode::Persistent.with_acls(Acls::anyone_all());
        self.call(async |client| client.create(path, data.as_ref(), &mode).await)?;
        Ok(())
    }

    /// Creates a persistent znode whose name ends with a number that the server gives.
    pub fn create_sequential(&self, prefix: &str, data: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let mode = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        self.call(async |client| client.create(prefix, data.as_ref(), &mode).await)?;
        Ok(())
    }

    /// Deletes a znode without children.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        Ok(self.call(async |client| client.delete(path, None).await)?)
    }

    /// Makes one call, on a new session if the last is lost, and again until it is answered or
    /// ZooKeeper has been away for too long.
    fn call<T>(&self, call: impl AsyncFn(&Client) -> Result<T, Error>) -> Result<T, Error> {
        let mut slot = self
            .client
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.runtime.block_on(async {
            let end = Instant::now() + PATIENCE;
            loop {
                let client = match slot.take() {
                    Some(client) => Ok(client),
                    None => {
                        Client::connector()
                            .with_session_timeout(Duration::from_secs(30))
                            .connect(&self.connect)
                            .await
                    }
                };
                let answer = match client {
                    Ok(client) => {
                        let answer = call(&client).await;
                        if !answer.as_ref().is_err_and(is_loss) {
                            *slot = Some(client);
                        }
                        answer
                    }
                    Err(error) => Err(error),
                };
                if !answer.as_ref().is_err_and(is_loss) || Instant::now() > end {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }
}

/// Whether the call was not answered.
fn is_loss(error: &Error) -> bool {
    matches!(
        error,
        Error::NoHosts
            | Error::Timeout
            | Error::SessionExpired
            | Error::SessionMoved
            | Error::ConnectionLoss
            | Error::ClientClosed
    )
}
