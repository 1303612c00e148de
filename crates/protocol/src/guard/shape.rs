//! The words of the shape tables.

/// A first version that is never reached.
pub(super) const NEVER: i16 = i16::MAX;
/// The last version of a field that later versions kept.
pub(super) const ONWARDS: i16 = i16::MAX;

/// What follows the header of one request or response.
pub(super) struct Message {
    /// The first version with compact lengths and tagged fields.
    pub(super) first_flexible: i16,
    pub(super) fields: &'static [Field],
}

/// One field of a message or of a structure in it.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    versions: (i16, i16),
    nullable: (i16, i16),
    tag: u32,
    tagged: (i16, i16),
}

/// How a field is laid out.
pub(super) enum Kind {
    /// That many bytes.
    Fixed(usize),
    /// Text after an int16 length, or a compact one.
    String,
    /// Bytes after an int32 length, or a compact one.
    Bytes,
    /// Record batches: laid out as bytes.
    Records,
    /// The fields of a structure, with tagged fields of its own in flexible versions.
    Struct(&'static [Field]),
    /// Elements after an int32 count, or a compact one.
    Array(&'static Kind),
}

const NO_VERSION: (i16, i16) = (1, 0);

/// A field that exists in versions `from` to `to`, both included.
pub(super) const fn field(name: &'static str, from: i16, to: i16, kind: Kind) -> Field {
    Field {
        name,
        kind,
        versions: (from, to),
        nullable: NO_VERSION,
        tag: 0,
        tagged: NO_VERSION,
    }
}

impl Field {
    pub(super) const fn nullable(self, from: i16, to: i16) -> Self {
        Self {
            nullable: (from, to),
            ..self
        }
    }

    pub(super) const fn tagged(self, tag: u32, from: i16, to: i16) -> Self {
        Self {
            tag,
            tagged: (from, to),
            ..self
        }
    }

    /// Whether the field stands among the ordinary ones of a version.
    pub(super) fn is_plain_in(&self, version: i16) -> bool {
        within(self.versions, version) && !within(self.tagged, version)
    }

    /// Whether the field is the tagged one of that number in a version.
    pub(super) fn is_tag_in(&self, tag: u32, version: i16) -> bool {
        self.tag == tag && within(self.tagged, version)
    }

    pub(super) fn is_nullable_in(&self, version: i16) -> bool {
        within(self.nullable, version)
    }

    #[cfg(test)]
    pub(super) fn tag_in(&self, version: i16) -> Option<u32> {
        within(self.tagged, version).then_some(self.tag)
    }
}

fn within((from, to): (i16, i16), version: i16) -> bool {
    from <= version && version <= to
}
