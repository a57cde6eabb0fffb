//! Reading and writing protobuf's wire form.

/// One record's payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Reads records from an encoded message.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

/// The bytes are not an encoded message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    /// The next field number and payload; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Malformed)?)),
            _ => return Err(Malformed),
        };
        Ok(Some((number, value)))
    }

    /// A bare varint, as in a packed list.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for i in 0..10 {
            let b = *self.bytes.get(i).ok_or(Malformed)?;
            value |= u64::from(b & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
            if b < 0x80 {
                self.bytes = &self.bytes[i + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// The next value of a packed list whose values have this wire type.
    pub(crate) fn packed(&mut self, wire_type: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(match wire_type {
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Malformed)?)),
            _ => Value::Varint(self.varint()?),
        }))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(Malformed)?;
        self.bytes = tail;
        Ok(head)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Begins a length-delimited record; give the result to [`end`] after its content was written.
pub(crate) fn begin(out: &mut Vec<u8>, number: u32) -> usize {
    put_key(out, number, 2);
    out.push(0);
    out.len()
}

/// Writes the length of a record begun by [`begin`].
pub(crate) fn end(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len < 0x80 {
        out[start - 1] = len as u8;
    } else {
        let mut varint = Vec::with_capacity(5);
        put_varint(&mut varint, len as u64);
        out.splice(start - 1..start, varint);
    }
}

/// The signed form of a zigzag number.
pub(crate) fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let mut out = Vec::new();
        let start = begin(&mut out, 7);
        put_bytes(&mut out, 1, &[b'x'; 300]);
        put_key(&mut out, 2, 0);
        put_varint(&mut out, u64::MAX);
        end(&mut out, start);
        let mut reader = Reader::new(&out);
        let Ok(Some((7, Value::Bytes(inner)))) = reader.next() else { panic!("no record") };
        assert_eq!(reader.next(), Ok(None));
        let mut reader = Reader::new(inner);
        assert_eq!(reader.next(), Ok(Some((1, Value::Bytes(&[b'x'; 300])))));
        assert_eq!(reader.next(), Ok(Some((2, Value::Varint(u64::MAX)))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in
            [&[0x0a, 5, 1][..], &[0x80], &[0x0b], &[0x00, 1], &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
