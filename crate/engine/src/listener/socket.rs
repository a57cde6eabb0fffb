//! Makes listening sockets: a taken port is an error, never a silent split of its connections.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::SocketOptions;

/// The sockets of one address, one a worker, owned by the control side for as long as the address is used.
pub struct Bound {
    /// The address with its real port.
    pub address: SocketAddr,
    /// Whether they take datagrams.
    pub datagrams: bool,
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
        // Datagrams must come to the worker that has their connection: where they cannot be steered there, one worker has them all.
        let steered = options.reuse_port && !options.share_port && workers > 1;
        for _ in 1..if options.datagrams && !steered { 1 } else { workers } {
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
        if options.datagrams && steered && steer(&sockets[0], workers).is_err() {
            sockets.truncate(1);
        }
        Ok(Bound { address: actual, datagrams: options.datagrams, sockets, backlog: options.backlog.min(i32::MAX as u32) as i32 })
    }

    /// Begins to queue connections; the workers take them from now on. Datagrams need no word.
    pub fn listen(&self) -> io::Result<()> {
        if self.datagrams {
            return Ok(());
        }
        self.sockets.iter().try_for_each(|socket| socket.listen(self.backlog))
    }

    /// A handle of worker `index`'s socket; the socket lives until all handles and this are dropped. An error where that worker has none.
    pub fn socket(&self, index: usize) -> io::Result<Handle> {
        let socket = self.sockets.get(index).ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        Ok(if self.datagrams { Handle::Datagrams(socket.into()) } else { Handle::Stream(socket.into()) })
    }
}

/// A handle of a bound socket.
pub enum Handle {
    /// It accepts TCP connections.
    Stream(TcpListener),
    /// It takes datagrams.
    Datagrams(UdpSocket),
}

impl Handle {
    /// The socket, where it accepts connections.
    pub fn into_stream(self) -> io::Result<TcpListener> {
        match self {
            Handle::Stream(socket) => Ok(socket),
            Handle::Datagrams(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Another handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Handle> {
        match self {
            Handle::Stream(socket) => socket.try_clone().map(Handle::Stream),
            Handle::Datagrams(socket) => socket.try_clone().map(Handle::Datagrams),
        }
    }
}

/// Has the kernel hand each QUIC packet to the socket whose number its destination connection id names: the id's first four bytes, modulo `workers`. A
/// client chooses its first packet's id at random; those that come later are the worker's own (`quic.rs`).
#[cfg(target_os = "linux")]
fn steer(group: &Socket, workers: usize) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    const LONG_HEADER: u32 = 0x80;
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut program = [
        step(LOAD_BYTE, 0),
        libc::sock_filter { code: JUMP_IF_SET, jt: 0, jf: 2, k: LONG_HEADER },
        // Behind a long header's flags and version stands the length of the id, which is one of at least four bytes.
        step(LOAD_WORD, 6),
        step(JUMP, 1),
        step(LOAD_WORD, 1),
        step(MODULO, workers as u32),
        step(RETURN, 0),
    ];
    // The kernel copies the program before the call returns. A datagram that is too short for it goes to the first socket.
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(group, AttachReusePortCbpf, &program).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn steer(_group: &Socket, _workers: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn open(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let (kind, protocol) = if options.datagrams { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
    if !options.datagrams {
        // With datagrams it would let another process take the port.
        socket.set_reuse_address(true)?;
    }
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

    const OPTIONS: SocketOptions =
        SocketOptions { datagrams: false, reuse_port: true, share_port: false, backlog: 128, freebind: false, ipv4_compat: false };

    #[test]
    fn workers_share_a_port_and_a_second_owner_is_refused() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = Bound::bind(any, OPTIONS, 3).unwrap();
        bound.listen().unwrap();
        assert_ne!(bound.address.port(), 0);
        for worker in 0..3 {
            let Handle::Stream(socket) = bound.socket(worker).unwrap() else { panic!("not for connections") };
            assert_eq!(socket.local_addr().unwrap(), bound.address);
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

    #[test]
    #[cfg(target_os = "linux")]
    fn datagrams_go_to_the_worker_that_their_connection_id_names() {
        const WORKERS: u32 = 3;
        let options = SocketOptions { datagrams: true, ..OPTIONS };
        let bound = Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0)), options, WORKERS as usize).unwrap();
        assert!(Bound::bind(bound.address, options, 1).is_err(), "the port is taken");
        let workers: Vec<_> = (0..WORKERS as usize)
            .map(|worker| match bound.socket(worker).unwrap() {
                Handle::Datagrams(socket) => socket,
                Handle::Stream(_) => panic!("not for datagrams"),
            })
            .collect();
        for (number, client) in (0..60u32).map(|n| (n, UdpSocket::bind("127.0.0.1:0").unwrap())) {
            let id = number.to_be_bytes();
            let short = [&[0x40][..], &id, b"rest"].concat();
            let long = [&[0xc0, 0, 0, 0, 1, 4][..], &id, b"rest"].concat();
            for packet in [short, long] {
                client.send_to(&packet, bound.address).unwrap();
                // On the loopback a datagram is queued by the time that it is sent.
                let mut buffer = [0; 64];
                let n = workers[(number % WORKERS) as usize].recv(&mut buffer).unwrap();
                assert_eq!(buffer[..n], packet[..]);
            }
        }
    }

    #[test]
    fn datagrams_that_cannot_be_steered_have_one_worker() {
        let options = SocketOptions { datagrams: true, reuse_port: false, ..OPTIONS };
        let bound = Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0)), options, 2).unwrap();
        assert!(bound.socket(0).is_ok() && bound.socket(1).is_err());
    }
}
