// node_server.js PORT FILE SYNCHRONOUS: articles in SQLite through better-sqlite3, a transaction for each request.
"use strict";
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const Database = require(process.env.BETTER_SQLITE3);

const [port, file, synchronous] = process.argv.slice(2);
const database = new Database(file);
database.pragma("journal_mode = WAL");
database.pragma(`synchronous = ${synchronous}`);
database.exec("CREATE TABLE IF NOT EXISTS articles (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID");
const insert = database.prepare("INSERT INTO articles VALUES (?, ?)");
const select = database.prepare("SELECT document FROM articles WHERE id = ?").pluck();
const count = database.prepare("SELECT count(*) FROM articles").pluck();

function answer(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

function create(response, text) {
  const article = JSON.parse(text);
  article.id ??= randomUUID();
  const document = JSON.stringify(article);
  insert.run(article.id, document);
  answer(response, 201, document);
}

const server = http.createServer((request, response) => {
  if (request.method === "POST") {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => create(response, Buffer.concat(parts).toString()));
  } else if (request.url === "/count") {
    answer(response, 200, String(count.get()));
  } else {
    const document = select.get(request.url.slice(request.url.lastIndexOf("/") + 1));
    answer(response, document ? 200 : 404, document ?? "{}");
  }
});
server.keepAliveTimeout = 600000;
server.listen(Number(port), "127.0.0.1", () => console.log("listening"));
