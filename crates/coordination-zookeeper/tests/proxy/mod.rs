//! A TCP proxy between a session and its server, for the faults of a network.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Forwards bytes until it is told otherwise.
pub(crate) struct Proxy {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    refuses: AtomicBool,
    links: Mutex<Vec<Link>>,
}

/// One connection, both sides of it.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Whether what the server says is thrown away.
    mute: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy for this server, on a free port.
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound").to_string();
        let state = Arc::new(State::default());
        let (server, accepting) = (server.to_owned(), Arc::clone(&state));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.accept(client, &server);
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Closes every connection and refuses new ones.
    pub(crate) fn cut(&self) {
        let mut links = self.state.links.lock().expect("nobody panics");
        self.state.refuses.store(true, Ordering::SeqCst);
        for link in links.drain(..) {
            link.close();
        }
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.state.refuses.store(false, Ordering::SeqCst);
    }

    /// From now on nothing that the server says arrives on the connections that are open.
    pub(crate) fn mute(&self) {
        for link in &*self.state.links.lock().expect("nobody panics") {
            link.mute.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl State {
    fn accept(&self, client: TcpStream, server: &str) {
        let mut links = self.links.lock().expect("nobody panics");
        if self.refuses.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(server) else {
            return;
        };
        let twice = |stream: &TcpStream| stream.try_clone().expect("clones");
        let mute = Arc::new(AtomicBool::new(false));
        pump(twice(&client), twice(&server), Arc::default());
        pump(twice(&server), twice(&client), Arc::clone(&mute));
        links.push(Link {
            client,
            server,
            mute,
        });
    }
}

impl Link {
    fn close(&self) {
        // Either side may have closed it before.
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mute: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !mute.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
    });
}
