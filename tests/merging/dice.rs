//! Chance from a seed, and content made of templates by it.

use serde_json::{Map, Value};

/// A sequence that the seed determines (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`, which is not zero.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from(self.next() % sides).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Content by a template: `?name` is a field that may be absent, `{"$one": […]}` is one of the list,
    /// `{"$some": […]}` is a list of some of them and `{"$least": […]}` one of at least one.
    pub(crate) fn make(&mut self, template: &Value) -> Value {
        match template {
            Value::Object(fields) => match fields.iter().next() {
                Some((key, Value::Array(items))) if key == "$one" => {
                    let one = self.pick(items).clone();
                    self.make(&one)
                }
                Some((key, Value::Array(items))) if key == "$some" => Value::Array(self.some(items)),
                Some((key, Value::Array(items))) if key == "$least" => {
                    let mut some = self.some(items);
                    if some.is_empty() {
                        some.push(self.make(&items[0]));
                    }
                    Value::Array(some)
                }
                _ => Value::Object(self.fields(fields)),
            },
            Value::Array(items) => Value::Array(items.iter().map(|item| self.make(item)).collect()),
            scalar => scalar.clone(),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>) -> Map<String, Value> {
        let mut made = Map::new();
        for (name, template) in fields {
            match name.strip_prefix('?') {
                Some(_) if self.one_in(2) => {}
                Some(name) => {
                    made.insert(name.to_owned(), self.make(template));
                }
                None => {
                    made.insert(name.clone(), self.make(template));
                }
            }
        }
        made
    }

    fn some(&mut self, items: &[Value]) -> Vec<Value> {
        let mut some: Vec<Value> = Vec::new();
        for item in items {
            if self.one_in(2) {
                let at = self.below(some.len() + 1);
                let made = self.make(item);
                some.insert(at, made);
            }
        }
        some
    }
}
