local workspace = require "spec.support.workspace"

-- The module as others get it: from LuaRocks and from make install, each in a place of its own. Not under a sanitizer,
-- where a plain interpreter can't load it.
describe("installing", function()
  if os.getenv "TIDEMARK_SANITIZER" then return end
  after_each(workspace.clean)

  local function checkout()
    local path = workspace.path()
    assert(os.execute(("mkdir -p %s && cp -r Makefile *.rockspec engine bindings scripts %s"):format(path, path)))
    return path
  end

  it("by luarocks make gives a module that plain lua5.4 requires", function()
    local source, tree = checkout(), workspace.path()
    local out, err, status = workspace.run(("cd %s && luarocks --lua-version 5.4 --tree %s make 2>&1"):format(source, tree))
    assert.equal(0, status, out .. err)
    out, err, status = workspace.run(([[cd / && LUA_CPATH_5_4='%s/lib/lua/5.4/?.so' lua5.4 -e '
      local tidemark = require "tidemark"
      local db <close> = assert(tidemark.open "%s/data")
      print(tidemark.version, (db:collection "c":create { id = "x" }))']]):format(tree, tree))
    assert.equal("0.1.0\tx\n", out, err)
    assert.equal(0, status)
    assert.equal("tidemark 0.1.0\n", (workspace.run(tree .. "/bin/tidemark version")))
  end)

  it("by make install gives module, command, header and library", function()
    local source, prefix = checkout(), workspace.path()
    local out, err, status = workspace.run(("cd %s && make -j2 install PREFIX=%s 2>&1"):format(source, prefix))
    assert.equal(0, status, out .. err)
    assert.equal("0.1.0\n", (workspace.run(([[cd / && LUA_CPATH_5_4='%s/lib/lua/5.4/?.so' lua5.4 -e '
      print(require "tidemark".version)']]):format(prefix))))
    assert.equal("tidemark 0.1.0\n", (workspace.run(prefix .. "/bin/tidemark version")))
    local program = prefix .. "/program.c"
    workspace.write(program, [[
      #include <stdio.h>
      #include <tidemark.h>
      int main(int count, char **values)
      {
          struct tide_engine *engine;
          if (count < 2 || tide_open(values[1], NULL, &engine, NULL) != TIDE_OK)
              return 1;
          puts(TIDE_VERSION);
          return tide_close(engine, NULL);
      }]])
    out, err, status = workspace.run(([[export PKG_CONFIG_PATH=%s/lib/pkgconfig; cd %s &&
      gcc -o program program.c $(pkg-config --cflags --libs --static tidemark) && ./program %s/data]]):format(prefix,
      prefix, prefix))
    assert.equal("0.1.0\n", out, err)
    assert.equal(0, status)
    assert.equal(0, (select(3, workspace.run(("cd %s && make uninstall PREFIX=%s && ! ls %s/bin/tidemark"):format(source,
      prefix, prefix)))))
  end)
end)
