//! Floats as JSON that parse back to the same bits, those that JSON has no number for included.
//!
//! A finite float is written as the shortest decimal that reads back as itself. NaN and the
//! infinities, which a diverged run does log, are the strings `"NaN"`, `"inf"` and `"-inf"`
//! (JSON has no number for them; the sign and payload of a NaN are not kept).

use serde::de::Unexpected;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire<T> {
    Finite(T),
    NotFinite(String),
}

fn name_of(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}

fn value_of<E: serde::de::Error>(name: &str) -> Result<f64, E> {
    match name {
        "NaN" => Ok(f64::NAN),
        "inf" => Ok(f64::INFINITY),
        "-inf" => Ok(f64::NEG_INFINITY),
        other => Err(E::invalid_value(
            Unexpected::Str(other),
            &"a number, NaN, inf or -inf",
        )),
    }
}

/// `#[serde(with = "exact::float")]`
pub(crate) mod float {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.serialize_str(&name_of(*value))
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Finite(value) => Ok(value),
            Wire::NotFinite(name) => value_of(&name),
        }
    }
}

/// `#[serde(default, with = "exact::optional_float")]`: `None` is `null`.
pub(crate) mod optional_float {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::float::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        match Option::<Wire<f64>>::deserialize(deserializer)? {
            None => Ok(None),
            Some(Wire::Finite(value)) => Ok(Some(value)),
            Some(Wire::NotFinite(name)) => value_of(&name).map(Some),
        }
    }
}
