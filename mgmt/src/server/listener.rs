//! The unix socket.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers.
    #[error(
        "another daemon answers on {}; stop it first, or give this one another [gateway] api-socket",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is not a socket; move it away, or choose another [gateway] api-socket", path.display())]
    NotASocket {
        /// What is not a socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {}: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A socket that answers once [`serve`](super::serve) is called. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    owned: OwnedPath,
}

impl Listener {
    /// Listens on `path`, readable and writable by owner and group. Replaces a socket that a daemon
    /// left behind; creates the folder if there is none. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If another daemon answers there, or the system refuses.
    pub async fn bind(path: &Path) -> Result<Self, ListenError> {
        let fail = |error| ListenError::Io {
            path: path.to_owned(),
            error,
        };
        refuse_if_taken(path).await?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(fail)?;
        // Bound under another name in a private folder, so that nobody can connect before the mode
        // is right, and a stale socket is replaced at once.
        let private = tempfile::Builder::new()
            .prefix(".sekisho-")
            .tempdir_in(folder)
            .map_err(fail)?;
        let temporary = private.path().join("s");
        let listener = UnixListener::bind(&temporary).map_err(fail)?;
        let mode = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(&temporary, mode).map_err(fail)?;
        std::fs::rename(&temporary, path).map_err(fail)?;
        let inode = path.symlink_metadata().map_err(fail)?.ino();
        Ok(Self {
            listener,
            owned: OwnedPath {
                path: path.to_owned(),
                inode,
            },
        })
    }

    /// The connections; the socket is removed with the stream.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<UnixStream>> {
        let owned = self.owned;
        UnixListenerStream::new(self.listener).map(move |stream| {
            // The closure keeps the path until the stream ends.
            let _ = &owned;
            stream
        })
    }
}

/// A socket's path, removed on drop unless somebody has replaced it.
#[derive(Debug)]
struct OwnedPath {
    path: PathBuf,
    inode: u64,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the API socket is left behind");
        }
    }
}

async fn refuse_if_taken(path: &Path) -> Result<(), ListenError> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(ListenError::Io {
                path: path.to_owned(),
                error,
            });
        }
        Ok(metadata) => metadata,
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(ListenError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}
