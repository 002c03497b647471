-- Optimistic locking: read a document with its version, write it back only if nobody was faster, else try again.
--   build/tidemark run examples/optimistic_locking.lua [DIRECTORY]
local tidemark = require "tidemark"

local db <close> = assert(tidemark.open(arg and arg[1] or "build/examples/optimistic_locking"))
local accounts = db:collection "accounts"
assert(accounts:put { id = "ada", balance = 100 })

-- Changes a document by a function of its present state; returns the new document.
local function change(id, modify)
  while true do
    local document, version = accounts:get(id)
    if not document then return nil, "there is no " .. id end
    modify(document)
    local ok, message, code = accounts:put(document, { if_version = version })
    if ok then return document end
    if code ~= "conflict" then return nil, message end
  end
end

local account = assert(change("ada", function(document) document.balance = document.balance - 30 end))
print("balance", account.balance)

-- The version that a slow client still holds is no longer in force.
local _, stale = accounts:get "ada"
assert(accounts:update("ada", { balance = 50 }))
local ok, message, code = accounts:update("ada", { balance = 1000 }, { if_version = stale })
print("stale write", ok, message, code)
print("balance", accounts:get "ada".balance)
-- if_version = 0: only if it is absent.
print("only if absent", select(3, accounts:put({ id = "ada" }, { if_version = 0 })))
