// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The live ranges by offset: exactly the one that starts there, or the last one before.
//
// The offset space is cut into equal buckets, a power of two of granules wide, between two and
// four for each range that can be live. What starts in one bucket is a digital tree by offset;
// a summary of bitmaps says which buckets are not empty. A tree is at most as deep as a bucket
// is wide in bits, plus one; with ranges spread evenly nearly all have one node.
//
// Costs: locate, insert, remove: that depth, at most twice; one word a level of the summary,
// mostly one in all. at_most: the same, and two words a level.
// Metadata: 8 to 16 bytes and a few bits for each range that can be live; less when the pool
// has fewer granules. One caller at a time.
#pragma once

#include "bit_levels.hpp"
#include "digital_tree.hpp"
#include "range_node.hpp"

namespace quarry {

template <typename Steps>
class OffsetIndex {
public:
    struct Layout {
        unsigned shift;  // a bucket is 2^shift granules
        u64 buckets;
    };
    // For `granules` of offset space, `most` live. Both above 0.
    static Layout layout(u64 granules, u64 most) {
        const unsigned wanted = ceil_log2(most) + 1;
        const unsigned bits = granules == 1 ? 1 : highest_bit(granules - 1) + 1;
        const unsigned shift = bits > wanted ? bits - wanted : 0;
        return {shift, ((granules - 1) >> shift) + 1};
    }
    // A multiple of 8.
    static u64 bytes_for(const Layout& l) {
        return Levels::words_for(l.buckets) * 8 + round_up(l.buckets, 2) * sizeof(u32);
    }

    // `memory`: bytes_for(layout), zeroed.
    void attach(RangeNode* nodes, void* memory, const Layout& l) {
        nodes_ = nodes;
        layout_ = l;
        auto* words = static_cast<u64*>(memory);
        full_.attach(words, l.buckets);
        heads_ = reinterpret_cast<u32*>(words + Levels::words_for(l.buckets));
    }
    unsigned depth() const { return layout_.shift + 1; }

    // The node that starts at this granule, or 0. It is inside the offset space.
    u32 find(u64 start) const {
        Steps::step();
        const u32 first = heads_[start >> layout_.shift];
        if (nodes_[first].start == start) [[likely]] return first;
        return *tree().locate(&heads_[start >> layout_.shift], start, layout_.shift);
    }

    void insert(u32 node, u64 start) {
        u32* const head = &heads_[start >> layout_.shift];
        Steps::step();
        if (*head == 0) {
            tree().insert(head, node);
            full_.set(start >> layout_.shift);
        } else {
            tree().insert(tree().locate(head, start, layout_.shift), node);
        }
    }

    void remove(u32 node, u64 start) {
        u32* const head = &heads_[start >> layout_.shift];
        Steps::step();
        tree().remove(*head == node ? head : tree().locate(head, start, layout_.shift));
        if (*head == 0) full_.clear(start >> layout_.shift);
    }

    // The node with the greatest start that is `granule` at most, or 0.
    u32 at_most(u64 granule) const {
        u64 bucket = granule >> layout_.shift;
        if (const u32 head = heads_[bucket])
            if (const u32 node = tree().at_most(head, granule, layout_.shift)) return node;
        if (bucket == 0) return 0;
        bucket = full_.at_most(bucket - 1);
        return bucket == Levels::kNone ? 0 : tree().greatest(heads_[bucket]);
    }

    // For the audit. fn(node, bucket) for every node; false: the summary lies, or a tree is
    // deeper than it can be.
    template <typename Fn>
    bool for_each(Fn&& fn) const {
        for (u64 b = 0; b < layout_.buckets; ++b) {
            if (full_.has(b) != (heads_[b] != 0)) return false;
            if (!tree().for_each(heads_[b], layout_.shift, [&](u32 node) { fn(node, b); }))
                return false;
        }
        return full_.consistent(layout_.buckets);
    }
    bool in_bucket(u64 start, u64 bucket) const { return start >> layout_.shift == bucket; }

private:
    using Levels = BitLevels<Steps>;
    struct View {
        using Key = u64;
        RangeNode* nodes;

        u64 key(u32 node) const { return nodes[node].start; }
        u32* kids(u32 node) const { return nodes[node].link; }
    };
    using Tree = DigitalTree<View, Steps>;

    Tree tree() const { return Tree(View{nodes_}); }

    RangeNode* nodes_ = nullptr;
    u32* heads_ = nullptr;
    Layout layout_{};
    Levels full_;
};

}  // namespace quarry
