//! Makes listening sockets: a taken port is an error, never a silent split of its connections.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::SocketOptions;

/// The sockets of one address, one a worker, owned by the control side for as long as the address is used.
pub struct Bound {
    /// The address with its real port.
    pub address: SocketAddr,
    sockets: Vec<Socket>,
    backlog: i32,
}

impl Bound {
    /// Binds `workers` sockets to `address`.
    ///
    /// The first is bound without SO_REUSEPORT, so that a port that another process or proxy holds is an error; then it
    /// gets the option, which lets the rest join it.
    pub fn bind(address: SocketAddr, options: SocketOptions, workers: usize) -> io::Result<Bound> {
        let first = open(address, options)?;
        if options.share_port {
            first.set_reuse_port(true)?;
        }
        first.bind(&address.into())?;
        if options.reuse_port && !options.share_port {
            first.set_reuse_port(true)?;
        }
        let actual = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            let next = if options.reuse_port {
                let next = open(actual, options)?;
                next.set_reuse_port(true)?;
                next.bind(&actual.into())?;
                next
            } else {
                sockets[0].try_clone()?
            };
            sockets.push(next);
        }
        Ok(Bound { address: actual, sockets, backlog: options.backlog.min(i32::MAX as u32) as i32 })
    }

    /// Begins to queue connections; the workers take them from now on.
    pub fn listen(&self) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.listen(self.backlog))
    }

    /// A handle of worker `index`'s socket; the socket lives until all handles and this are dropped.
    pub fn socket(&self, index: usize) -> io::Result<TcpListener> {
        self.sockets[index].try_clone().map(TcpListener::from)
    }
}

fn open(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.ipv4_compat)?;
    }
    if options.freebind {
        if address.is_ipv6() { socket.set_freebind_v6(true)? } else { socket.set_freebind_v4(true)? }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SocketOptions = SocketOptions { reuse_port: true, share_port: false, backlog: 128, freebind: false, ipv4_compat: false };

    #[test]
    fn workers_share_a_port_and_a_second_owner_is_refused() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = Bound::bind(any, OPTIONS, 3).unwrap();
        bound.listen().unwrap();
        assert_ne!(bound.address.port(), 0);
        for worker in 0..3 {
            assert_eq!(bound.socket(worker).unwrap().local_addr().unwrap(), bound.address);
        }
        let taken = Bound::bind(bound.address, OPTIONS, 1).err().map(|e| e.kind());
        assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
        drop(bound);
        Bound::bind(any, OPTIONS, 1).unwrap();
    }

    #[test]
    fn sharing_is_an_option_of_both_sides() {
        let share = SocketOptions { share_port: true, ..OPTIONS };
        let one = Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0)), share, 1).unwrap();
        one.listen().unwrap();
        assert!(Bound::bind(one.address, share, 1).is_ok());
        assert!(Bound::bind(one.address, OPTIONS, 1).is_err());
    }
}
