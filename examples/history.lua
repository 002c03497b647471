-- Reading history: every change is an event; the log can be read by seq, by collection, by document.
--   build/tidemark run examples/history.lua [DIRECTORY]
local tidemark = require "tidemark"

local db <close> = assert(tidemark.open(arg and arg[1] or "build/examples/history"))
local pages = db:collection "pages"
local start = db:watermarks().accepted + 1

assert(pages:put { id = "home", text = "one" })
assert(pages:update("home", { text = "two" }))
assert(pages:put { id = "about", text = "us" })
assert(pages:delete "home")
assert(db:flush())

-- Everything since some seq: how a search index or a replica follows the store.
for event in db:events { from = start } do
  print(event.type, event.id, event.document and event.document.text)
end

-- One document's history is a walk from its newest event back, not a scan.
local versions = {}
for event in db:events { collection = "pages", id = "home", from = start } do
  versions[#versions + 1] = event.document and event.document.text or event.type
end
print("home was", table.concat(versions, ", "))

-- The state as of an earlier time: replay up to there.
local past = {}
for event in db:events { from = start, to = start + 1 } do past[event.id] = event.document end
print("then home said", past.home.text)
