//! One row of the table: everything that is known about a key.

use crate::validator::Validator;
use crate::value::Type;

/// How much a key matters, as Kafka's documentation ranks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Importance {
    /// Most operators set it.
    High,
    /// Some operators set it.
    Medium,
    /// Few operators set it.
    Low,
}

/// Whether and where a broker key can change while the broker runs (KIP-226).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateMode {
    /// Needs a restart.
    ReadOnly,
    /// Can change for one broker.
    PerBroker,
    /// Can change for one broker and as the default of all.
    ClusterWide,
}

/// Whether this broker acts on a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serving {
    /// It does.
    Served,
    /// It knows the key and checks its value, but nothing follows from it yet: setting it warns.
    Unserved,
    /// It does not, and running without it would be less safe than asked: setting it to anything
    /// but its default ends the start. The text completes "is set, but …".
    Refused(&'static str),
}

/// A configuration key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Key {
    /// Kafka's name of it.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Type,
    /// The value while nobody sets it, as text; none is Kafka's `null`.
    pub default: Option<&'static str>,
    /// What a value must be.
    pub validator: Validator,
    /// How much it matters.
    pub importance: Importance,
    /// Whether it can change while the broker runs. Topic keys always can.
    pub update_mode: UpdateMode,
    /// Whether descriptions leave it out while nobody sets it.
    pub internal: bool,
    /// Whether this broker acts on it.
    pub serving: Serving,
    /// What it does, in one sentence.
    pub documentation: &'static str,
}

impl Key {
    const fn new(name: &'static str, kind: Type) -> Self {
        Self {
            name,
            kind,
            default: None,
            validator: Validator::Any,
            importance: Importance::Medium,
            update_mode: UpdateMode::ReadOnly,
            internal: false,
            serving: Serving::Served,
            documentation: "",
        }
    }

    pub(crate) const fn boolean(name: &'static str) -> Self {
        Self::new(name, Type::Boolean)
    }

    pub(crate) const fn string(name: &'static str) -> Self {
        Self::new(name, Type::String)
    }

    pub(crate) const fn int(name: &'static str) -> Self {
        Self::new(name, Type::Int)
    }

    pub(crate) const fn short(name: &'static str) -> Self {
        Self::new(name, Type::Short)
    }

    pub(crate) const fn long(name: &'static str) -> Self {
        Self::new(name, Type::Long)
    }

    pub(crate) const fn double(name: &'static str) -> Self {
        Self::new(name, Type::Double)
    }

    pub(crate) const fn list(name: &'static str) -> Self {
        Self::new(name, Type::List)
    }

    pub(crate) const fn class(name: &'static str) -> Self {
        Self::new(name, Type::Class)
    }

    pub(crate) const fn password(name: &'static str) -> Self {
        Self::new(name, Type::Password)
    }

    pub(crate) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    pub(crate) const fn at_least(mut self, min: f64) -> Self {
        self.validator = Validator::Range { min, max: None };
        self
    }

    pub(crate) const fn between(mut self, min: f64, max: f64) -> Self {
        self.validator = Validator::Range {
            min,
            max: Some(max),
        };
        self
    }

    pub(crate) const fn one_of(mut self, values: &'static [&'static str]) -> Self {
        self.validator = Validator::OneOf(values);
        self
    }

    pub(crate) const fn validator(mut self, validator: Validator) -> Self {
        self.validator = validator;
        self
    }

    pub(crate) const fn high(mut self) -> Self {
        self.importance = Importance::High;
        self
    }

    pub(crate) const fn low(mut self) -> Self {
        self.importance = Importance::Low;
        self
    }

    pub(crate) const fn per_broker(mut self) -> Self {
        self.update_mode = UpdateMode::PerBroker;
        self
    }

    pub(crate) const fn cluster_wide(mut self) -> Self {
        self.update_mode = UpdateMode::ClusterWide;
        self
    }

    pub(crate) const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    pub(crate) const fn unserved(mut self) -> Self {
        self.serving = Serving::Unserved;
        self
    }

    pub(crate) const fn refused(mut self, reason: &'static str) -> Self {
        self.serving = Serving::Refused(reason);
        self
    }

    pub(crate) const fn doc(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation;
        self
    }

    /// Whether its value must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Type::Password
    }
}
