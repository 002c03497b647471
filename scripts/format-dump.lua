-- format-dump.lua: makes the annotated hex dump in docs/format.md from a real log. What differs from run to run (the database's
-- id, times, checksums) is shown as dots.
local tidemark = require "tidemark"
local path = os.tmpname()
os.remove(path)

local db = assert(tidemark.open(path, { flush_interval_ms = 86400000 })) -- so that both events are in one frame
local articles = db:collection "articles"
assert(articles:create { id = "a" })
assert(articles:delete "a")
assert(db:close())
local file = assert(io.open(path .. "/events.raftlog", "rb"))
local log = file:read "a"
file:close()
os.execute("rm -rf '" .. path .. "'")

local at = 0
local function show(length, what, differs)
  local text = {}
  for i = at + 1, at + length do text[#text + 1] = differs and ".." or ("%02x"):format(log:byte(i)) end
  print(("%04x  %-47s  %s"):format(at, table.concat(text, " "), what))
  at = at + length
end

local function number(length) return (string.unpack("<I" .. length, log, at + 1)) end

show(8, "magic")
show(4, "format version")
show(4, "length of this header")
show(16, "database id, random", true)
show(8, "seq of the first event")
show(8, "time of creation", true)
show(12, "zeros")
show(4, "CRC32C of all before", true)

local function record()
  local start = at
  local value, collection, id = number(4), log:byte(at + 7), log:byte(at + 8)
  show(4, "  record: length of the value")
  show(1, "  type: " .. ({ "created", "updated", "deleted" })[log:byte(at + 1)])
  show(1, "  flags")
  show(1, "  length of the collection's name")
  show(1, "  length of the id")
  show(8, "  seq")
  show(8, "  time", true)
  show(8, "  seq of the document's event before")
  show(collection, "  collection")
  show(id, "  id")
  if value > 0 then show(value, "  value") end
  local padding = (8 - (at - start) % 8) % 8
  if padding > 0 then show(padding, "  padding") end
end

while at < #log do
  local events = string.unpack("<I4", log, at + 13)
  local flags = string.unpack("<I4", log, at + 41)
  show(4, flags == 1 and "frame, the end mark: magic" or "frame: magic")
  show(4, "CRC32C of the rest of the frame", true)
  show(4, "length of the frame")
  show(4, "events")
  show(8, flags == 0 and "seq of the first event" or "seq of the next event")
  show(8, "term")
  show(8, "durable watermark when it was written")
  show(4, flags == 1 and "flags: closed" or "flags")
  show(4, "beginning of the database id", true)
  for _ = 1, events do record() end
end
