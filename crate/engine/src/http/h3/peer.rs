//! The unidirectional streams of a connection, in either role: our control stream, and the peer's.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use quinn::RecvStream;
use tokio::sync::Notify;

use super::{
    Code, check_settings,
    frame::{Frame, Frames, Place, varint},
    goaway, streams,
};
use crate::worker::Worker;

/// The longest SETTINGS or GOAWAY that is read, in bytes.
const CONTROL_LIMIT: usize = 4096;
/// The number of a GOAWAY that refuses no stream that is on its way already.
const LAST: u64 = (1 << 62) - 4;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer sends requests.
    Server,
    /// We do.
    Client,
}

/// Tells the peer, once, that it shall open no further stream.
#[derive(Clone, Default)]
pub struct Announcement(Rc<Notify>);

impl Announcement {
    /// Makes it.
    pub fn make(&self) {
        self.0.notify_one();
    }
}

/// What a peer's control stream tells.
#[derive(Clone, Default)]
pub struct Told {
    goaway: Rc<Cell<bool>>,
    seen: Rc<RefCell<Vec<u64>>>,
}

impl Told {
    /// Whether the peer takes no further stream.
    pub fn goes_away(&self) -> bool {
        self.goaway.get()
    }
}

/// Keeps our control stream open for as long as the connection lives. `preface` is its first bytes.
pub async fn announce(quic: quinn::Connection, preface: Vec<u8>, announcement: Announcement) {
    let Ok(mut control) = quic.open_uni().await else { return };
    if control.write_all(&preface).await.is_ok() {
        announcement.0.notified().await;
        let _ = control.write_all(&goaway(LAST)).await;
    }
    quic.closed().await;
}

/// Reads the peer's streams until the connection ends; what they must not say ends it.
pub async fn listen(quic: quinn::Connection, worker: Rc<Worker>, role: Role, told: Told) {
    while let Ok(recv) = quic.accept_uni().await {
        let (quic, told) = (quic.clone(), told.clone());
        worker.spawn(async move {
            if let Err(code) = read(recv, role, &told).await {
                quic.close(code.into(), b"");
            }
        });
    }
}

/// Reads one stream to its end. A stream that the connection takes with it has nothing more to say.
async fn read(mut recv: RecvStream, role: Role, told: &Told) -> Result<(), Code> {
    let mut ahead = BytesMut::new();
    let kind = loop {
        if let Some(kind) = varint(&mut &ahead[..]) {
            break kind;
        }
        match next(&mut recv, 1).await? {
            Some(byte) => ahead.extend_from_slice(&byte),
            None => return Ok(()),
        }
    };
    if matches!(kind, streams::CONTROL | streams::ENCODER | streams::DECODER) {
        let mut seen = told.seen.borrow_mut();
        if seen.contains(&kind) {
            return Err(Code::STREAM_CREATION_ERROR);
        }
        seen.push(kind);
    }
    match (kind, role) {
        (streams::CONTROL, _) => control(&mut recv, told).await,
        (streams::ENCODER, _) => instructions(&mut recv, |byte| byte == SET_NO_CAPACITY, Code::ENCODER_STREAM_ERROR).await,
        (streams::DECODER, _) => cancellations(&mut recv).await,
        // As in Envoy; a client cannot push.
        (streams::PUSH, Role::Server) => Err(Code::GENERAL_PROTOCOL_ERROR),
        (streams::PUSH, Role::Client) => Err(Code::ID_ERROR),
        _ => {
            let _ = recv.stop(Code::STREAM_CREATION_ERROR.into());
            Ok(())
        }
    }
}

async fn control(recv: &mut RecvStream, told: &Told) -> Result<(), Code> {
    let mut frames = Frames::new(Place::Control, CONTROL_LIMIT);
    let mut settled = false;
    while let Some(mut chunk) = next(recv, CONTROL_LIMIT).await? {
        while let Some(frame) = frames.next(&mut chunk)? {
            match frame {
                Frame::Settings(payload) if !settled => {
                    check_settings(&payload)?;
                    settled = true;
                }
                _ if !settled => return Err(Code::MISSING_SETTINGS),
                Frame::Goaway(payload) => {
                    let mut rest = &payload[..];
                    varint(&mut rest).filter(|_| rest.is_empty()).ok_or(Code::FRAME_ERROR)?;
                    told.goaway.set(true);
                }
                _ => return Err(Code::FRAME_UNEXPECTED),
            }
        }
    }
    Err(Code::CLOSED_CRITICAL_STREAM)
}

/// Sets the capacity of our dynamic table to none: all that there is to say to it.
const SET_NO_CAPACITY: u8 = 0x20;

/// Reads instructions of one byte, as long as they are allowed.
async fn instructions(recv: &mut RecvStream, allowed: impl Fn(u8) -> bool, otherwise: Code) -> Result<(), Code> {
    while let Some(chunk) = next(recv, CONTROL_LIMIT).await? {
        if !chunk.iter().copied().all(&allowed) {
            return Err(otherwise);
        }
    }
    Err(Code::CLOSED_CRITICAL_STREAM)
}

/// Reads stream cancellations: as we insert nothing, nothing else can be acknowledged.
async fn cancellations(recv: &mut RecvStream) -> Result<(), Code> {
    let mut within = false;
    while let Some(chunk) = next(recv, CONTROL_LIMIT).await? {
        for byte in &chunk {
            within = match (within, byte) {
                (true, byte) => byte & 0x80 != 0,
                (false, 0x40..=0x7f) => byte & 0x3f == 0x3f,
                (false, _) => return Err(Code::DECODER_STREAM_ERROR),
            };
        }
    }
    Err(Code::CLOSED_CRITICAL_STREAM)
}

/// The next bytes; `None` at the end of the stream, an error where the peer reset it.
async fn next(recv: &mut RecvStream, most: usize) -> Result<Option<Bytes>, Code> {
    match recv.read_chunk(most, true).await {
        Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
        Err(quinn::ReadError::Reset(_)) => Err(Code::CLOSED_CRITICAL_STREAM),
        // The connection is over, whatever ended it; closing it again changes nothing.
        Err(_) => Err(Code::NO_ERROR),
    }
}
