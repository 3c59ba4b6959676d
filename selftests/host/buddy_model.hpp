// SPDX-License-Identifier: MIT
//
// A buddy and a naive model of it, step by step together: an array of what each page is.
// Every call's answer is predicted from the array, errors included; where the buddy may
// choose (which block), its choice is checked. Shared by the random stream and the fuzzer.
#pragma once

#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "../../module/core/pages/buddy.hpp"
#include "host_platform.hpp"

namespace quarry {

class BuddyModel {
public:
    static constexpr u64 kSpace = 192;  // pages of the offset space

    // One step: pick(n) chooses 0..n-1. False: error() says what was wrong.
    template <typename Pick>
    bool step(Pick&& pick) {
        const Order order{static_cast<u8>(pick(6))};
        const u64 page = pick(kSpace + 2);
        switch (pick(20)) {
        case 0: case 1: case 2: case 3: case 4:
            alloc(order, pick(4) ? Zone::normal : Zone::lowmem);
            break;
        case 5: case 6: case 7:
            alloc_exact(1 + pick(20), pick(4) ? Zone::normal : Zone::lowmem,
                        Order{static_cast<u8>(pick(5))});
            break;
        case 8: case 9: free_some_run(pick(64), order); break;
        case 10: free_run(some_run(pick(64), page)); break;
        case 11: free_run(page); break;
        case 12: free_order(page, order); break;
        case 13: free_part(page, 1 + pick(12)); break;
        case 14: mark(pick(64)); break;
        case 15: unmark(pick(64)); break;
        case 16: add_region(page, 1 + pick(60), pick(3) ? Zone::normal : Zone::lowmem); break;
        case 17: remove_region(pick(4) ? some_region(pick(16)) : page); break;
        case 18: pick(2) ? isolate(some_region(pick(16))) : restore(some_region(pick(16))); break;
        default: look(page, 1 + pick(40)); break;
        }
        return error_.empty();
    }

    // Everything at once: the audit, and the buddy's sums against the array.
    bool verify() {
        Audit audit;
        const BuddyCensus seen = buddy_.verify(audit);
        expect(audit.clean(), std::string("audit: ") + audit.result().first + " at page " +
                                  std::to_string(audit.result().first_offset >> 12));
        u64 by_kind[5] = {};
        for (const Kind k : kinds_) ++by_kind[k];
        expect(buddy_.free_pages() == by_kind[free], "free_pages");
        expect(buddy_.total_pages() == by_kind[free] + by_kind[run] + by_kind[slab], "total_pages");
        expect(seen.quiet && seen.run_pages == by_kind[run] && seen.slab_pages == by_kind[slab] &&
                   seen.isolated_pages == by_kind[isolated] && seen.free_pages == by_kind[free] &&
                   seen.runs == runs_.size() - slabs_.size() && seen.regions == regions_.size(),
               "census");
        expect(audit.result().pages == kSpace - by_kind[hole], "pages visited");
        expect(buddy_.region_count() == regions_.size(), "region_count");
        return error_.empty();
    }

    const std::string& error() const { return error_; }
    u64 successes() const { return successes_; }

private:
    enum Kind : u8 { hole, free, run, slab, isolated };
    struct RegionModel {
        u64 pages;
        Zone zone;
        bool isolated;
    };

    void expect(bool good, const std::string& what) {
        if (!good && error_.empty()) error_ = what;
    }
    void expect_error(Error got, Error wanted, const char* call, u64 page) {
        expect(got == wanted, std::string(call) + " of page " + std::to_string(page) + ": error " +
                                  std::to_string(int(got)) + ", expected " +
                                  std::to_string(int(wanted)));
        successes_ += got == Error::none;
    }
    const RegionModel* region_of(u64 page) const {
        auto it = regions_.upper_bound(page);
        if (it == regions_.begin()) return nullptr;
        --it;
        return page < it->first + it->second.pages ? &it->second : nullptr;
    }
    bool all(u64 first, u64 pages, Kind kind) const {
        if (first + pages > kSpace || region_of(first) != region_of(first + pages - 1)) return false;
        for (u64 p = first; p < first + pages; ++p)
            if (kinds_[p] != kind) return false;
        return true;
    }
    // A free aligned block of this order in the zone.
    bool any_block(unsigned order, Zone zone) const {
        const u64 size = u64{1} << order;
        for (u64 p = 0; p + size <= kSpace; p += size)
            if (all(p, size, free) && region_of(p)->zone == zone) return true;
        return false;
    }
    void paint(u64 first, u64 pages, Kind kind) {
        for (u64 p = first; p < first + pages; ++p) kinds_[p] = kind;
    }
    // The run that holds this page; end when none does.
    std::map<u64, u64>::iterator run_at(u64 page) {
        auto it = runs_.upper_bound(page);
        if (it == runs_.begin()) return runs_.end();
        --it;
        return page < it->first + it->second ? it : runs_.end();
    }
    u64 some_run(u64 n, u64 otherwise) {
        return runs_.empty() ? otherwise : std::next(runs_.begin(), n % runs_.size())->first;
    }
    u64 some_region(u64 n) {
        return regions_.empty() ? n : std::next(regions_.begin(), n % regions_.size())->first;
    }

    // What a free at this page must answer if it were for any size.
    Error start_error(u64 page) {
        if (page >= kSpace) return Error::out_of_range;
        switch (kinds_[page]) {
        case hole: return Error::no_region;
        case free:
        case isolated: return Error::already_free;
        case slab: return Error::not_object;
        default: return runs_.count(page) ? Error::none : Error::not_object;
        }
    }

    void took(u64 first, u64 pages, Zone zone, bool normal_had) {
        expect(all(first, pages, free), "what was allocated was not free, or crosses a region");
        if (!error_.empty()) return;
        const Zone from = region_of(first)->zone;
        expect(zone == Zone::normal ? from == Zone::normal || !normal_had : from == Zone::lowmem,
               "from the wrong zone");
        paint(first, pages, run);
        runs_[first] = pages;
        ++successes_;
    }
    Error why_empty() const { return regions_.empty() ? Error::uninitialised : Error::pool_full; }

    void alloc(Order order, Zone zone) {
        const unsigned o = value(order);
        const bool normal = zone == Zone::normal && any_block(o, Zone::normal);
        const bool possible = normal || any_block(o, Zone::lowmem);
        expect(buddy_.can_alloc(order, zone) == possible, "can_alloc");
        const auto page = buddy_.alloc(order, zone);
        if (!possible) return expect(page.error() == why_empty(), "alloc should be refused");
        expect(bool(page), "alloc refused what is there");
        if (!page) return;
        expect(value(*page) % pages_of(order) == 0, "misaligned block");
        took(value(*page), pages_of(order), zone, normal);
    }

    void alloc_exact(u64 pages, Zone zone, Order align) {
        const unsigned need = ceil_log2(pages) > value(align) ? ceil_log2(pages) : value(align);
        const bool normal = zone == Zone::normal && any_block(need, Zone::normal);
        const bool sure = normal || any_block(need, Zone::lowmem);
        const auto page = buddy_.alloc_exact(pages, zone, align);
        if (!page) {
            expect(!sure, "alloc_exact refused what is there");
            return expect(page.error() == why_empty(), "alloc_exact: wrong error");
        }
        expect(value(*page) % pages_of(align) == 0, "misaligned run");
        took(value(*page), pages, zone, normal);
    }

    void freed(u64 first, u64 pages) { paint(first, pages, free); }

    void free_order(u64 page, Order order) {
        Error wanted = start_error(page);
        if (ok(wanted) && runs_[page] != pages_of(order)) wanted = Error::wrong_size;
        expect_error(buddy_.free(PageNumber{page}, order), wanted, "free", page);
        if (!ok(wanted)) return;
        freed(page, pages_of(order));
        runs_.erase(page);
    }
    void free_some_run(u64 n, Order otherwise) {
        const u64 page = some_run(n, n);
        const auto it = runs_.find(page);
        const bool block = it != runs_.end() && is_power_of_two(it->second);
        free_order(page, block ? Order{static_cast<u8>(highest_bit(it->second))} : otherwise);
    }
    void free_run(u64 page) {
        const Error wanted = start_error(page);
        {
            ReadGuard<HostPlatform> reader;
            const auto length = buddy_.run_pages(PageNumber{page});
            expect(length.error() == wanted, "run_pages: error");
            if (ok(wanted)) expect(*length == runs_[page], "run_pages: length");
        }
        const auto pages = buddy_.free_run(PageNumber{page});
        expect_error(pages.error(), wanted, "free_run", page);
        if (!ok(wanted)) return;
        expect(*pages == runs_[page], "free_run: length");
        freed(page, runs_[page]);
        runs_.erase(page);
    }
    void free_part(u64 page, u64 pages) {
        Error wanted = start_error(page);
        const auto it = run_at(page);
        const bool inside = it != runs_.end() && page < kSpace && kinds_[page] == run;
        if (inside)
            wanted = page + pages <= it->first + it->second ? Error::none : Error::wrong_size;
        expect_error(buddy_.free(PageNumber{page}, pages), wanted, "free of a part", page);
        if (!ok(wanted)) return;
        const u64 start = it->first, end = it->first + it->second;
        runs_.erase(it);
        if (start < page) runs_[start] = page - start;
        if (page + pages < end) runs_[page + pages] = end - page - pages;
        freed(page, pages);
    }

    void mark(u64 n) {
        const u64 page = some_run(n, kSpace);
        const auto it = runs_.find(page);
        if (it == runs_.end() || slabs_.count(page) || !is_power_of_two(it->second)) return;
        if (page % it->second) return;  // no single block
        const Order order{static_cast<u8>(highest_bit(it->second))};
        buddy_.mark_slab(PageNumber{page}, order, names_ + page % 8, static_cast<u8>(n));
        slabs_[page] = order;
        paint(page, it->second, slab);
        ReadGuard<HostPlatform> reader;
        for (u64 p = page; p < page + it->second; ++p) {
            const PageDesc* desc = buddy_.find(PageNumber{p});
            expect(PageDesc::slab<Name>(desc->word()) == names_ + page % 8, "slab's page");
            expect(desc->size_class() == static_cast<u8>(n), "slab's class");
            expect(buddy_.number_of(*desc) == PageNumber{p}, "number of a slab's page");
        }
    }
    void unmark(u64 n) {
        if (slabs_.empty()) return;
        const auto it = std::next(slabs_.begin(), n % slabs_.size());
        buddy_.unmark_slab(PageNumber{it->first}, it->second);
        paint(it->first, pages_of(it->second), run);
        slabs_.erase(it);
    }

    void add_region(u64 first, u64 pages, Zone zone) {
        Error wanted = Error::none;
        if (first + pages > kSpace)
            wanted = Error::out_of_range;
        else
            for (u64 p = first; p < first + pages; ++p)
                if (kinds_[p] != hole) wanted = Error::overlap;
        const auto added = buddy_.add_region(PageNumber{first}, pages, zone, names_ + first % 8);
        expect_error(added.error(), wanted, "add_region", first);
        if (!ok(wanted)) return;
        expect(*added == pages, "add_region: pages");
        regions_[first] = {pages, zone, false};
        paint(first, pages, free);
    }
    bool idle(u64 first) const {
        const RegionModel& r = regions_.at(first);
        for (u64 p = first; p < first + r.pages; ++p)
            if (kinds_[p] != free && kinds_[p] != isolated) return false;
        return true;
    }
    void remove_region(u64 first) {
        const bool there = regions_.count(first);
        const Error wanted = !there ? Error::not_found : idle(first) ? Error::none : Error::busy;
        expect_error(buddy_.remove_region(PageNumber{first}), wanted, "remove_region", first);
        if (!ok(wanted)) return;
        paint(first, regions_[first].pages, hole);
        regions_.erase(first);
    }
    void isolate(u64 first) {
        const bool there = regions_.count(first);
        const Error wanted = !there ? Error::not_found : idle(first) ? Error::none : Error::busy;
        expect_error(buddy_.isolate_region(PageNumber{first}), wanted, "isolate", first);
        if (!ok(wanted)) return;
        paint(first, regions_[first].pages, isolated);
        regions_[first].isolated = true;
    }
    void restore(u64 first) {
        buddy_.restore_region(PageNumber{first});
        const auto it = regions_.find(first);
        if (it == regions_.end() || !it->second.isolated) return;
        it->second.isolated = false;
        paint(first, it->second.pages, free);
    }

    void look(u64 page, u64 pages) {
        {
            ReadGuard<HostPlatform> reader;
            const RegionModel* model = page < kSpace ? region_of(page) : nullptr;
            const Region* region = buddy_.region_of(PageNumber{page});
            expect((model != nullptr) == (region != nullptr), "region_of");
            if (region) {
                expect(region->pages == model->pages && region->zone == model->zone, "region");
                expect(region->cookie == names_ + region->first % 8, "cookie");
                expect(buddy_.number_of(*buddy_.find(PageNumber{page})) == PageNumber{page},
                       "number_of");
            }
        }
        const u64 align = u64{1} << ceil_log2(pages);
        u64 at = 0;
        while (at + pages <= kSpace && !gap(at, pages)) at += align;
        const auto found = buddy_.find_gap(pages);
        if (at + pages <= kSpace)
            expect(found && value(*found) == at, "find_gap");
        else
            expect(found.error() == Error::pool_full, "find_gap of too much");
    }
    bool gap(u64 first, u64 pages) const {
        for (u64 p = first; p < first + pages; ++p)
            if (kinds_[p] != hole) return false;
        return true;
    }

    struct alignas(64) Name {};
    Name names_[8];
    std::vector<Kind> kinds_ = std::vector<Kind>(kSpace, hole);
    std::map<u64, u64> runs_;  // first page to length; of slabs, too
    std::map<u64, Order> slabs_;
    std::map<u64, RegionModel> regions_;
    Buddy<HostPlatform> buddy_{kSpace};
    std::string error_;
    u64 successes_ = 0;
};

}  // namespace quarry
