// SPDX-License-Identifier: MIT
//
// The heap under long random streams: against a naive model with an audit after each step,
// and on 2 and 4 threads (on their own, handing objects over, all sizes with little memory).
#include <map>
#include <set>
#include <random>

#include "handshake.hpp"
#include "heap_fixture.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using TestHeap = Heap<P>;
using HeapModel = HeapFixture<P>;
using HeapThreads = HeapFixture<P>;

// A size: log-uniform, 8 bytes to `most`.
u64 random_size(std::mt19937_64& random, u64 most) {
    const unsigned top = highest_bit(most);
    const u64 base = u64{8} << random() % (top - 2);
    return std::min(most, base + random() % base);
}

// What the heap should know, kept naively: live objects, and which grains they cover.
class Model {
public:
    explicit Model(u64 pages) : covered_(pages * kPageBytes / kGrain) {}

    void add(Offset o, u64 size, u64 usable) {
        ASSERT_GE(usable, size);
        for (u64 g = o / kGrain; g < (o + usable) / kGrain; ++g) {
            ASSERT_FALSE(covered_[g]) << "two objects at " << g * kGrain;
            covered_[g] = true;
        }
        live_[o] = {size, usable};
        order_.push_back(o);
    }
    void remove(Offset o) {
        for (u64 g = o / kGrain; g < (o + live_[o].usable) / kGrain; ++g) covered_[g] = false;
        live_.erase(o);
        for (auto& at : order_)
            if (at == o) {
                at = order_.back();
                order_.pop_back();
                break;
            }
    }
    void shrink(Offset o, u64 size, u64 usable) {
        auto& object = live_[o];
        for (u64 g = (o + usable) / kGrain; g < (o + object.usable) / kGrain; ++g)
            covered_[g] = false;
        object = {size, usable};
    }
    Offset any(std::mt19937_64& random) const { return order_[random() % order_.size()]; }
    bool live(Offset o) const { return live_.count(o) != 0; }
    bool covers(Offset o) const { return covered_[o / kGrain]; }
    u64 size(Offset o) const { return live_.at(o).size; }
    u64 usable(Offset o) const { return live_.at(o).usable; }
    u64 objects() const { return live_.size(); }
    u64 bytes() const {
        u64 sum = 0;
        for (const auto& [o, object] : live_) sum += object.usable;
        return sum;
    }
    const std::vector<Offset>& all() const { return order_; }

private:
    struct Object {
        u64 size;
        u64 usable;
    };
    std::map<Offset, Object> live_;
    std::vector<Offset> order_;
    std::vector<bool> covered_;
};

class Stream {
public:
    Stream(TestHeap& heap, u64 pages, u64 seed) : heap_(heap), model_(pages), random_(seed), pages_(pages) {}

    void step() {
        // Waves: the pool fills for a while, then empties for a while.
        const bool filling = (steps_++ / 400) % 2 == 0;
        const unsigned dice = random_() % 100;
        if (dice < 2)
            wild();
        else if (dice < 4 && model_.objects())
            twice();
        else if (dice < 6 && model_.objects())
            resize();
        else if (dice < 8)
            bulk();
        else if (dice == 8 && random_() % 64 == 0)
            heap_.drain();
        else if (dice < (filling ? 65 : 45) || !model_.objects())
            alloc();
        else
            free(model_.any(random_));
    }
    void finish() {
        while (model_.objects()) free(model_.all().back());
    }
    const Model& model() const { return model_; }
    u64 refused() const { return refused_; }

private:
    void alloc() {
        const u64 size = random_size(random_, random_() % 50 ? 4096 : 32768);
        const u64 align = random_() % 8 ? 8 : u64{1} << random_() % 14;
        const Context context = random_() % 4 ? Context::may_sleep : Context::atomic;
        const auto o = random_() % 16 ? heap_.alloc(size, align, context)
                                      : heap_.alloc_zeroed(size, align, context);
        if (!o) {
            ASSERT_EQ(o.error(), Error::pool_full);
            ++refused_;
            return;
        }
        ASSERT_EQ(*o % align, 0u);
        model_.add(*o, size, heap_.usable_size(*o));
    }
    void free(Offset o) {
        const u64 size = model_.size(o);
        const unsigned how = random_() % 8;
        if (how == 0) {
            ASSERT_EQ(heap_.free_sized(o, model_.usable(o) + 1), Error::wrong_size);
            ASSERT_EQ(heap_.usable_size(o), model_.usable(o));
        }
        if (how < 2) {
            ASSERT_EQ(heap_.free_sized(o, size), Error::none);
        } else if (how == 2 && model_.usable(o) <= kMaxSlot) {
            ASSERT_EQ(heap_.free_remote(o), Error::none);
        } else {
            ASSERT_EQ(heap_.free(o), Error::none);
        }
        model_.remove(o);
    }
    // Any offset at all: only a live object's start is freed.
    void wild() {
        const Offset o = random_() % (pages_ * kPageBytes + 4096);
        const Error e = heap_.free(o);
        if (o % 8) {
            ASSERT_EQ(e, Error::misaligned);
        } else if (o >= pages_ * kPageBytes) {
            ASSERT_EQ(e, Error::no_region);
        } else if (model_.live(o)) {
            ASSERT_EQ(e, Error::none);
            model_.remove(o);
        } else if (model_.covers(o)) {
            ASSERT_EQ(e, Error::not_object);
        } else {
            ASSERT_TRUE(e == Error::already_free || e == Error::not_object);
        }
    }
    void twice() {
        const Offset o = model_.any(random_);
        free(o);
        ASSERT_EQ(heap_.free(o), Error::already_free);
    }
    void resize() {
        const Offset o = model_.any(random_);
        const u64 usable = model_.usable(o);
        const u64 size = 1 + random_() % (2 * usable);
        const Error e = heap_.resize_in_place(o, size);
        ASSERT_EQ(e, size <= usable ? Error::none : Error::cannot_grow);
        if (!ok(e)) return;
        const u64 now = heap_.usable_size(o);
        ASSERT_GE(now, size);
        // A slot's size for a sized free stays what it was allocated with.
        model_.shrink(o, usable > kMaxSlot ? size : model_.size(o), now);
    }
    void bulk() {
        Offset out[100];
        const u64 size = random_size(random_, 512);
        const auto g = heap_.alloc_bulk(size, 8, 1 + random_() % 100, out);
        ASSERT_TRUE(ok(g.why) || g.why == Error::pool_full);
        for (u32 i = 0; i < g.done; ++i) model_.add(out[i], size, heap_.usable_size(out[i]));
        if (random_() % 2 == 0) return;
        ASSERT_EQ(heap_.free_bulk(out, g.done).done, g.done);
        for (u32 i = 0; i < g.done; ++i) model_.remove(out[i]);
    }

    TestHeap& heap_;
    Model model_;
    std::mt19937_64 random_;
    u64 pages_;
    u64 steps_ = 0;
    u64 refused_ = 0;
};

TEST_F(HeapModel, ALongRandomStreamAgreesWithTheModelAndVerifiesAfterEachStep) {
    constexpr u64 kPages = 48;
    make(kPages);
    Stream stream(*heap, kPages, 1);
    // A step under the sanitizers takes 0.1 ms; the million of them is the pool's and the buddy's.
    constexpr u64 kSteps = by_variant(500'000, 30'000, 3'000);
    for (u64 i = 0; i < kSteps; ++i) {
        stream.step();
        if (HasFatalFailure()) FAIL() << "at step " << i;
        Audit audit;
        HeapAudit<P>(*heap, audit).run(true);
        ASSERT_TRUE(audit.clean()) << audit.result().first << " at step " << i;
        ASSERT_EQ(audit.result().objects, stream.model().objects()) << "at step " << i;
    }
    EXPECT_GT(stream.refused(), kSteps / 1000);
    EXPECT_EQ(heap->stat().used_bytes, stream.model().bytes());
    stream.finish();
    expect_fresh();
}

TEST_F(HeapModel, RandomStepsInALargerHeapEndWithTheFreeListsOfAFreshOne) {
    constexpr u64 kPages = 4096;
    make(kPages);
    constexpr u64 kSteps = by_variant(300'000, 40'000, 20'000);
    for (u64 seed = 2; seed < by_variant<u64>(4, 4, 3); ++seed) {
        Stream stream(*heap, kPages, seed);
        for (u64 i = 0; i < kSteps; ++i) {
            stream.step();
            if (HasFatalFailure()) FAIL() << "seed " << seed << " step " << i;
            if (i % 30'000 == 0) {
                EXPECT_EQ(verify().objects, stream.model().objects());
            }
        }
        EXPECT_EQ(heap->stat().used_bytes, stream.model().bytes());
        stream.finish();
        expect_fresh();
    }
}

// ---- threads ----

// Memory behind the heap, as words: a slot given to two shows as a foreign word, and to the
// race detector as a race.
struct Words {
    explicit Words(u64 pages) : word(pages * kPageBytes / 8) {}
    u64& at(Offset o) { return word[o / 8]; }
    std::vector<u64> word;
};

template <typename Fn>
void on_threads(unsigned count, Fn&& fn) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < count; ++t)
        threads.emplace_back([&fn, t] {
            P::Thread slot;
            fn(t);
        });
    for (auto& t : threads) t.join();
}

TEST_F(HeapThreads, EachOnItsOwn) {
    for (const unsigned count : {2u, 4u}) {
        make(4096);
        Words words(4096);
        on_threads(count, [&](unsigned t) {
            std::mt19937_64 random(t);
            std::vector<std::pair<Offset, u64>> live;
            for (u64 i = 0; i < 40'000; ++i) {
                if (live.size() < 500 && random() % 2) {
                    const auto o = heap->alloc(random_size(random, 2048));
                    ASSERT_TRUE(o);
                    words.at(*o) = u64{t} << 56 | i;
                    live.push_back({*o, words.at(*o)});
                } else if (!live.empty()) {
                    std::swap(live[random() % live.size()], live.back());
                    ASSERT_EQ(words.at(live.back().first), live.back().second);
                    ASSERT_EQ(heap->free(live.back().first), Error::none);
                    live.pop_back();
                }
            }
            for (auto [o, word] : live) ASSERT_EQ(heap->free(o), Error::none);
        });
        expect_fresh();
        heap.reset();
    }
}

TEST_F(HeapThreads, ProducersHandObjectsToConsumers) {
    for (const unsigned count : {2u, 4u}) {
        make(2048);
        Words words(2048);
        struct Ring {
            std::atomic<Offset> slot[64] = {};
        };
        std::vector<Ring> rings(count / 2);
        constexpr u64 kObjects = 60'000;
        on_threads(count, [&](unsigned t) {
            Ring& ring = rings[t / 2];
            std::mt19937_64 random(t / 2);
            for (u64 i = 0; i < kObjects; ++i) {
                auto& slot = ring.slot[i % 64];
                if (t % 2 == 0) {
                    await(slot, [](Offset it) { return it == 0; });
                    const auto o = heap->alloc(i % 8 ? 64 : random_size(random, 1024));
                    ASSERT_TRUE(o);
                    words.at(*o) = i;
                    tell(slot, *o + 1);
                } else {
                    const Offset o = await(slot, [](Offset it) { return it != 0; });
                    tell(slot, Offset{0});
                    ASSERT_EQ(words.at(o - 1), i);
                    ASSERT_EQ(heap->free(o - 1), Error::none);
                }
            }
        });
        expect_fresh();
        heap.reset();
    }
}

TEST_F(HeapThreads, AllSizesWithLittleMemoryAndAnAuditBeside) {
    for (const unsigned count : {2u, 4u}) {
        constexpr u64 kPages = 256;
        make(kPages);
        Words words(kPages);
        std::atomic<unsigned> running{count};
        std::atomic<u64> refused{0};
        on_threads(count + 1, [&](unsigned t) {
            if (t == count) {
                while (running) {
                    verify(false);
                    heap->drain();
                    (void)heap->stat();
                }
                return;
            }
            std::mt19937_64 random(t);
            std::vector<std::pair<Offset, u64>> live;
            for (u64 i = 0; i < 15'000; ++i) {
                if (live.size() < 120 && random() % 2) {
                    const u64 size = random_size(random, i % 16 ? 2048 : 65536);
                    const auto o = heap->alloc(size, 8, i % 5 ? Context::may_sleep : Context::atomic);
                    if (!o) {
                        ++refused;
                        continue;
                    }
                    words.at(*o) = u64{t} << 56 | i;
                    live.push_back({*o, words.at(*o)});
                } else if (!live.empty()) {
                    std::swap(live[random() % live.size()], live.back());
                    ASSERT_EQ(words.at(live.back().first), live.back().second);
                    ASSERT_EQ(heap->free(live.back().first), Error::none);
                    live.pop_back();
                }
            }
            for (auto [o, word] : live) ASSERT_EQ(heap->free(o), Error::none);
            --running;
        });
        EXPECT_GT(refused, 0u);
        expect_fresh();
        heap.reset();
    }
}

TEST_F(HeapThreads, RacingFreesOfOneObjectNeverHandItOutTwice) {
    make(256);
    const u64 rounds = by_variant(500, 150, 150);
    u64 wins = 0;
    u64 reports = 0;
    for (u64 round = 0; round < rounds; ++round) {
        const Offset o = alloc(64);
        std::atomic<unsigned> ready{0};
        std::atomic<unsigned> won{0};
        on_threads(2, [&](unsigned) {
            ++ready;
            while (ready < 2) {
            }
            won += ok(heap->free(o));
        });
        ASSERT_GE(won, 1u);
        wins += won;
        // Both copies, if there are two, are found when they are allocated or collected.
        std::vector<Offset> all(200);
        const auto g = heap->alloc_bulk(64, 8, 200, all.data());
        ASSERT_EQ(g.done, 200u);
        ASSERT_EQ(std::set<Offset>(all.begin(), all.end()).size(), 200u);
        ASSERT_EQ(heap->free_bulk(all.data(), 200).done, 200u);
        heap->drain();
        const auto found = P::take_corruptions().size();
        reports += found;
        ASSERT_EQ(found, won - 1u);
    }
    EXPECT_EQ(reports, wins - rounds);
    expect_fresh();
}

}  // namespace
}  // namespace quarry
