// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What every verify() writes to: how many contradictions, the first in words and
// place, and how much was visited. The same for tests, debugfs, fuzzers and tools.
#pragma once

#include "../../include/quarry_seam.h"
#include "types.hpp"

namespace quarry {

class Audit {
public:
    // `what` is a literal of at most 63 characters.
    void fault(const char* what, Offset where) {
        if (out_.faults++ != 0) return;
        out_.first_offset = where;
        unsigned i = 0;
        for (; what[i] && i + 1 < sizeof(out_.first); ++i) out_.first[i] = what[i];
        out_.first[i] = '\0';
    }
    // A fault unless `good`.
    void expect(bool good, const char* what, Offset where) {
        if (!good) fault(what, where);
    }
    void saw_pages(u64 n) { out_.pages += n; }
    void saw_slab() { ++out_.slabs; }
    void saw_objects(u64 n) { out_.objects += n; }

    bool clean() const { return out_.faults == 0; }
    const quarry_core_audit& result() const { return out_; }

private:
    quarry_core_audit out_{};
};

}  // namespace quarry
