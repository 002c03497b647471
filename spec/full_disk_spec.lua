local tidemark = require "tidemark"
local http_client = require "spec.support.http_client"
local serving = require "spec.support.serving"
local workspace = require "spec.support.workspace"

-- A disk that is really full: a small file system of its own. What the engine does on disks of all sizes is tried on the
-- simulated one (crashtest full).
describe("a full disk", function()
  local mounted

  -- Mounts an empty file system and returns a path in it; nil: not allowed here.
  local function small_disk(kind)
    local directory = workspace.path():match "(.*)/db$"
    local mount = directory .. "/mount"
    local command = kind == "tmpfs" and "mount -t tmpfs -o size=24m tmpfs " .. mount
      or ("truncate -s 24M %s/image && mkfs.%s -q %s/image && mount -o loop %s/image %s"):format(directory, kind, directory,
        directory, mount)
    local _, _, status = workspace.run(("mkdir %s && %s"):format(mount, command))
    if status ~= 0 then return end
    mounted = mount
    return mount .. "/db", mount
  end

  after_each(function()
    if mounted then workspace.run("umount -l " .. mounted) end -- before serving.clean removes what is in it
    mounted = nil
    serving.clean()
  end)

  local function fill_file(mount, name)
    workspace.run(("dd if=/dev/zero of=%s/%s bs=64k"):format(mount, name))
  end

  -- Creates until one is refused; returns how many were accepted, and what was said. A file system may find some more
  -- space a moment later, with its journal: so it is only over when a large one is refused all the while.
  local function fill(collection, prefix)
    local accepted = 0
    for i = 1, 1000000 do
      local id, message, code = collection:create { id = prefix .. i, pad = ("p"):rep(2000) }
      if id then
        accepted = accepted + 1
      elseif not http_client.poll(function()
        local more = collection:create { pad = ("p"):rep(100000) }
        accepted = accepted + (more and 1 or 0)
        return more
      end, 500) then
        return accepted, message, code
      end
    end
  end

  for _, kind in ipairs { "ext4", "tmpfs" } do
    it("(" .. kind .. ") refuses writes, keeps what was accepted, and goes on when there is room", function()
      local path, mount = small_disk(kind)
      if not path then
        pending(kind .. " cannot be mounted here")
        return
      end
      fill_file(mount, "ballast-1")
      workspace.run("truncate -s -8M " .. mount .. "/ballast-1")
      local db = assert(tidemark.open(path))
      local c = db:collection "c"
      local accepted, message, code = fill(c, "a")
      assert.equal("full", code, message)
      assert.is_true(accepted > 1000)
      for _ = 1, 3 do assert.equal("full", (select(3, c:create { pad = ("p"):rep(100000) }))) end
      assert.equal(db:watermarks().accepted, (assert(db:flush())))
      assert.equal(accepted, #c)
      assert.equal("a7", c:get("a7").id)
      workspace.run("truncate -s -4M " .. mount .. "/ballast-1")
      assert.is_true(http_client.poll(function() return c:create { id = "after", pad = ("p"):rep(100000) } ~= nil end))
      fill_file(mount, "ballast-2")
      local more
      more, message, code = fill(c, "b")
      assert.equal("full", code, message)
      assert(db:close())
      fill_file(mount, "ballast-3")
      db = assert(tidemark.open(path)) -- not a byte is left
      c = db:collection "c"
      assert.equal(accepted + more + 1, #c)
      assert.equal("full", (select(3, c:create { id = "x", pad = ("p"):rep(100000) })))
      assert(db:flush())
      assert(db:close())
      local out, err, status = workspace.command("verify " .. path)
      assert.equal(0, status, out .. err)
    end)
  end

  it("is 507 from the server, which stays alive and becomes ready again", function()
    local path, mount = small_disk "tmpfs"
    if not path then
      pending "tmpfs cannot be mounted here"
      return
    end
    local server = serving.start { db = path, app = "local app, db = ... app:resource('/things', db:collection 'things')" }
    local function post(id, size)
      return server:ask("POST", "/things", nil, ('{"id":"%s","pad":"%s"}'):format(id, ("p"):rep(size)))
    end
    assert.equal(201, post("first", 10).status)
    fill_file(mount, "ballast")
    local answer
    for i = 1, 1000 do
      answer = post("x" .. i, 100000)
      if answer.status ~= 201 then break end
    end
    serving.problem(answer, 507, "full")
    assert.is_true(http_client.poll(function()
      return post("y", 100000).status == 507 and server:ask("GET", "/ready").status == 503
    end))
    assert.matches("no space is left", server:ask("GET", "/ready").body)
    assert.equal(200, server:ask("GET", "/health").status)
    assert.equal("first", server:ask("GET", "/things/first"):json().id)
    assert.equal(201, server:ask("PUT", "/things/small", { "Prefer: durability=durable" }, "{}").status)
    os.remove(mount .. "/ballast")
    assert.is_true(http_client.poll(function() return server:ask("GET", "/ready").status == 200 end))
    assert.equal(201, post("z", 100000).status)
    assert.equal(0, server:stop())
    local db <close> = assert(tidemark.open(path, { read_only = true }))
    assert.is_true(db:collection "things":has "z")
  end)
end)
