//! The KNV table: one code, one entry. `nomos explain` and the reference page are made from it.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($number:literal $name:ident $explanation:literal;)*) => {
        /// A KNV code. Numbers are a contract and never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $explanation] $name = $number,)*
        }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, as in `NameCollision`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What it means, why, and how to fix it.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => $explanation),* }
            }
        }
    };
}

codes! {
    1003 IllegalNamespaceSubdirectory "x";
    1004 IllegalSelectorAnnotation "x";
    1005 IllegalManagementAnnotation "x";
    1006 ObjectParse "x";
    1007 IllegalAbstractNamespaceObjectKind "x";
    1009 IllegalMetadataNamespaceDeclaration "x";
    1010 IllegalAnnotationDefinition "x";
    1011 IllegalLabelDefinition "x";
    1013 ObjectHasUnknownSelector "x";
    1014 InvalidSelector "x";
    1017 MissingRepo "x";
    1019 IllegalTopLevelNamespace "x";
    1020 InvalidNamespaceName "x";
    1021 UnknownKind "x";
    1027 UnsupportedRepoSpecVersion "x";
    1029 NameCollision "x";
    1031 MissingObjectName "x";
    1032 IllegalHierarchicalKind "x";
    1034 IllegalNamespace "x";
    1036 InvalidMetadataName "x";
    1038 IllegalKindInNamespaces "x";
    1039 IncorrectTopLevelDirectory "x";
    1041 UnsupportedResourceInHierarchyConfig "x";
    1042 IllegalHierarchyMode "x";
    1043 UnsupportedObject "x";
    1044 UnsyncableResources "x";
    1045 IllegalFieldsInConfig "x";
    1046 ClusterScopedResourceInHierarchyConfig "x";
    1047 UnsupportedCRDRemoval "x";
    1048 InvalidCRDName "x";
    1050 DeprecatedGroupKind "x";
    1052 IllegalNamespaceOnClusterScopedResource "x";
    1053 NamespaceAndSelector "x";
    1054 InvalidAnnotationValue "x";
    1055 InvalidNamespace "x";
    1056 ManagedResourceInUnmanagedNamespace "x";
    1057 IllegalDepthLabel "x";
    1058 BadScope "x";
    1060 ManagementConflict "x";
    1061 InvalidSync "x";
    1064 InvalidAPIResources "x";
    1065 MalformedCRD "x";
    1066 ClusterSelectorAnnotationConflict "x";
    1067 EncodeDeclaredField "x";
    1068 ActionableHydration "x";
    1069 SelfReconcile "x";
    1070 MaxObjectCount "x";
    2001 Path "x";
    2002 ApiServer "x";
    2003 Os "x";
    2004 Source "x";
    2005 Fight "x";
    2006 EmptySource "x";
    2008 ResourceConflict "x";
    2009 Applier "x";
    2010 Resource "x";
    2012 MultipleSingletons "x";
    2013 InsufficientPermission "x";
    2014 InvalidWebhook "x";
    2015 InternalHydration "x";
    2016 Transient "x";
    2017 ListNamespace "x";
    9998 Internal "x";
    9999 Undocumented "x";
}

/// Numbers that were used once and are never used again.
pub const RETIRED: &[u16] = &[
    1000, 1001, 1002, 1008, 1012, 1015, 1016, 1018, 1022, 1023, 1024, 1025, 1026, 1028, 1030, 1033, 1035, 1037, 1040,
    1049, 1051, 1059, 1062, 1063, 2007, 2011,
];

// A table with numbers out of order, twice, or retired does not compile.
const _: () = {
    let mut i = 0;
    while i < Code::ALL.len() {
        assert!(i == 0 || Code::ALL[i - 1].number() < Code::ALL[i].number(), "codes are ascending and unique");
        let mut r = 0;
        while r < RETIRED.len() {
            assert!(Code::ALL[i].number() != RETIRED[r], "a retired number is never used again");
            r += 1;
        }
        i += 1;
    }
};

impl Code {
    /// The four digits.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a finding of this code keeps the whole set from being applied (errors §1.5).
    pub const fn blocks(self) -> bool {
        !matches!(self, Self::UnknownKind | Self::EncodeDeclaredField)
    }
}

/// `KNV1029`
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KNV{}", self.number())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
