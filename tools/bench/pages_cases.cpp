// SPDX-License-Identifier: MIT
//
// Pages: PageCache and Buddy as typed pools, inlined. Each page's first word is written.
//
//   pages-hot      one page allocated and freed, from the CPU's magazine
//   pages-random   1000 blocks of order 0..5 live in a pool twice as large; a random one is
//                  replaced by one of a random order, by the buddy alone
//   pages-threads  as pages-hot, on two threads
#include <sys/mman.h>

#include <memory>
#include <random>

#include "../../module/core/pages/page_cache.hpp"
#include "host_inline.hpp"
#include "together.hpp"

namespace {

using bench::die;
using bench::measure;
using bench::touch;
using quarry::Audit;
using quarry::Order;
using quarry::PageNumber;
using quarry::Zone;
using P = bench::InlinePlatform;

constexpr uint64_t kBlocks = 1000;
constexpr unsigned kOrders = 6;
constexpr uint64_t kPages = 2 * kBlocks * ((1 << kOrders) - 1) / kOrders;  // mean order times two

class Pages {
public:
    Pages() : buddy(kPages), cache(buddy) {
        void* memory = mmap(nullptr, kPages * 4096, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) die("no memory");
        base_ = static_cast<char*>(memory);
        if (!buddy.add_region(PageNumber{0}, kPages, Zone::normal, nullptr)) die("no region");
        if (!quarry::ok(cache.init())) die("no page cache");
    }
    void touch_page(PageNumber page) { touch(base_ + value(page) * 4096); }
    void pair() {
        const auto page = cache.alloc();
        if (!page) die("no page");
        touch_page(*page);
        if (!quarry::ok(cache.free(*page))) die("a free failed");
    }
    PageNumber alloc(unsigned order) {
        const auto page = buddy.alloc(Order{static_cast<uint8_t>(order)});
        if (!page) die("no block");
        touch_page(*page);
        return *page;
    }
    void free(PageNumber page, unsigned order) {
        if (!quarry::ok(buddy.free(page, Order{static_cast<uint8_t>(order)})))
            die("a free failed");
    }
    // Nothing was lost or torn meanwhile.
    void finish() {
        cache.drain();
        Audit audit;
        cache.verify(audit);
        if (!audit.clean()) die(audit.result().first);
        if (buddy.free_pages() != kPages) die("pages are lost");
    }

    quarry::Buddy<P> buddy;
    quarry::PageCache<P> cache;

private:
    char* base_;
};

double hot() {
    auto pages = std::make_unique<Pages>();
    const double ns = measure(1, [&] { pages->pair(); });
    pages->finish();
    return ns;
}

double threads() {
    auto pages = std::make_unique<Pages>();
    const double ns = bench::measure_both(1, [&](unsigned) { return [&] { pages->pair(); }; });
    pages->finish();
    return ns;
}

double random() {
    struct Step {
        uint32_t victim;
        uint32_t order;
    };
    auto pages = std::make_unique<Pages>();
    std::mt19937 generator(1);
    std::vector<Step> steps(1 << 16);
    for (Step& s : steps)
        s = {static_cast<uint32_t>(generator() % kBlocks), static_cast<uint32_t>(generator() % kOrders)};
    struct Block {
        PageNumber page;
        unsigned order;
    };
    std::vector<Block> live;
    for (uint64_t i = 0; i < kBlocks; ++i)
        live.push_back({pages->alloc(steps[i].order), steps[i].order});
    const double ns = measure(steps.size(), [&] {
        for (const Step& s : steps) {
            Block& block = live[s.victim];
            pages->free(block.page, block.order);
            block = {pages->alloc(s.order), s.order};
        }
    });
    for (const Block& block : live) pages->free(block.page, block.order);
    pages->finish();
    return ns;
}

const bench::Cases pages_cases{
    {"pages-hot", hot},
    {"pages-random", random},
    {"pages-threads", threads, nullptr, 2},
};

}  // namespace
