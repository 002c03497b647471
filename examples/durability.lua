-- Watermarks and durability: when is a write safe, and how to wait for it.
--   build/tidemark run examples/durability.lua [DIRECTORY]
local tidemark = require "tidemark"

local db <close> = assert(tidemark.open(arg and arg[1] or "build/examples/durability", {
  batch_size = 500,
  flush_interval_ms = 50, -- a batch is written at most this long after its first event
}))
local orders = db:collection "orders"

-- Accepted: in memory and queued; the writer brings it to the disk within the interval.
local _, version = assert(orders:create { item = "tea" })
local marks = db:watermarks()
print("accepted is ahead or level", marks.accepted >= marks.written and marks.written >= marks.durable)

-- Durable: fdatasync has returned. It costs about one sync, never the flush interval.
assert(orders:create({ item = "coffee" }, { durability = "durable" }))
print("durable", db:watermarks().durable >= version)

-- Many at once: write them accepted, then wait for the last.
local last
for i = 1, 1000 do
  _, last = assert(orders:create { item = "cup " .. i })
end
assert(db:wait(last)) -- or db:wait(last, "written"), or with a timeout in ms
print("waited", db:watermarks().durable >= last)

-- A flush: everything that was accepted before it.
local durable = assert(db:flush())
print("flushed", durable == db:watermarks().accepted)
print("syncs", db:stats().syncs > 0)
