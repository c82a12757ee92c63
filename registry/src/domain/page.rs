//! Lists are cut into pages of a stable order.

use super::filter::{Fields, Filter};

/// Page sizes, orders and filters of one kind of list.
#[derive(Debug, Clone, Copy)]
pub struct ListRules {
    pub default_size: u32,
    pub size_max: u32,
    pub default_sort: Sort,
    pub keys: &'static [SortKey],
    pub filters: Fields,
    /// How many pages an empty list has.
    pub pages_min: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Name,
    CreatedAt,
    UpdatedAt,
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub key: SortKey,
    pub direction: Direction,
}

/// Which page of a list is wanted. Both numbers are at least 1.
#[derive(Debug, Clone)]
pub struct PageRequest {
    pub page: u32,
    pub page_size: u32,
    pub sort: Sort,
    pub filter: Option<Filter>,
}

/// One page, and how long the whole list is.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

impl ListRules {
    /// What most lists have in common: oldest first, pages of 100 and at most 1000.
    pub const fn with(filters: Fields) -> Self {
        Self {
            default_size: 100,
            size_max: 1000,
            default_sort: Sort::OLDEST_FIRST,
            keys: &[SortKey::Name, SortKey::CreatedAt, SortKey::UpdatedAt],
            filters,
            pages_min: 0,
        }
    }
}

impl SortKey {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Status => "status",
        }
    }
}

impl Sort {
    pub const OLDEST_FIRST: Self = Self { key: SortKey::CreatedAt, direction: Direction::Up };
    pub const NEWEST_FIRST: Self = Self { key: SortKey::CreatedAt, direction: Direction::Down };

    /// `name`, or `-name` for the other way round; `None` when `keys` has no such key.
    pub fn parse(text: &str, keys: &[SortKey]) -> Option<Self> {
        let (key, direction) = match text.strip_prefix('-') {
            Some(key) => (key, Direction::Down),
            None => (text, Direction::Up),
        };
        let key = keys.iter().find(|k| k.as_str() == key)?;
        Some(Self { key: *key, direction })
    }

    pub fn to_wire(self) -> String {
        let dash = if self.direction == Direction::Down { "-" } else { "" };
        format!("{dash}{}", self.key.as_str())
    }
}

impl PageRequest {
    /// Narrows what is found by a further condition.
    pub fn also(&mut self, filter: Filter) {
        self.filter = Some(match self.filter.take() {
            Some(given) => Filter::All(vec![given, filter]),
            None => filter,
        });
    }

    pub fn offset(&self) -> i64 {
        i64::from(self.page - 1).saturating_mul(i64::from(self.page_size))
    }
}

impl<T> Page<T> {
    pub fn total_pages(&self, page_size: u32) -> u64 {
        self.total.div_ceil(u64::from(page_size.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_key_is_known_or_refused() {
        let keys = [SortKey::Name, SortKey::CreatedAt];
        assert_eq!(Sort::parse("-created_at", &keys), Some(Sort::NEWEST_FIRST));
        assert_eq!(Sort::parse("created_at", &keys), Some(Sort::OLDEST_FIRST));
        for bad in ["status", "", "-", "--name", "name desc"] {
            assert_eq!(Sort::parse(bad, &keys), None, "{bad}");
        }
        assert_eq!(Sort::NEWEST_FIRST.to_wire(), "-created_at");
    }

    #[test]
    fn an_empty_list_has_no_pages() {
        assert_eq!(Page::<u8> { rows: vec![], total: 0 }.total_pages(10), 0);
        assert_eq!(Page::<u8> { rows: vec![], total: 11 }.total_pages(10), 2);
    }
}
